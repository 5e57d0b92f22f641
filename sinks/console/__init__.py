"""The console: a small page for people, served beside the API. Server-rendered HTML and SVG.

What releases are now comes from the verdict board in memory, so it is there whenever verdicts are;
everything over time comes from the store, and where the store is away the page says so and says how
old the figures are that it still shows.
"""

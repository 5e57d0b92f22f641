// The page is whole without this. It asks for the same address again and again, puts the sections
// that changed in place, says how old what stands here is, and reads keys. No text ever becomes
// markup here: sections are moved as parsed elements, which run no scripts.
"use strict";

const body = document.body;
const everyMs = Number(body.dataset.everyMs || 0);
const freshness = document.getElementById("freshness");
let updatedAt = performance.now();
let failed = "";
let running = false;

function setTheme(theme) {
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}

function remembered() {
  try { return localStorage.getItem("driftline-theme"); } catch { return null; }
}

function changeTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(dark ? "light" : "dark");
  try { localStorage.setItem("driftline-theme", root.dataset.theme); } catch { /* kept for this page */ }
}

function sayAge() {
  if (!everyMs) return;
  const seconds = Math.round((performance.now() - updatedAt) / 1000);
  const stale = seconds * 1000 > Math.max(3 * everyMs, 10000);
  freshness.classList.toggle("stale", stale);
  freshness.textContent = stale
    ? `${failed || "no answer"}: what stands here is ${seconds} s old`
    : `live · updated ${seconds} s ago`;
}

function isUsed(section) {
  const selection = getSelection();
  return !selection.isCollapsed && section.contains(selection.anchorNode);
}

function place(section, fresh) {
  const opened = [...section.querySelectorAll("details[open]")].map((each) => each.id);
  const active = document.activeElement;
  const focused = section.contains(active) ? active.getAttribute("href") : null;
  const scrolled = [...section.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  section.replaceWith(fresh);
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  fresh.querySelectorAll(".scroll").forEach((each, i) => { each.scrollLeft = scrolled[i] || 0; });
  if (focused !== null) {
    const same = [...fresh.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === focused);
    same?.focus({ preventScroll: true });
  }
}

function update(text) {
  const next = new DOMParser().parseFromString(text, "text/html");
  const sections = [...document.querySelectorAll("main > section[id]")];
  const others = [...next.querySelectorAll("main > section[id]")];
  if (others.map((s) => s.id).join() !== sections.map((s) => s.id).join()) {
    location.reload();
    return;
  }
  document.title = next.title;
  sections.forEach((section, i) => {
    if (section.outerHTML === others[i].outerHTML || isUsed(section)) return;
    place(section, document.importNode(others[i], true));
  });
}

async function refresh() {
  if (running || document.hidden) return;
  running = true;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(15000) });
    if (answer.redirected) {
      location.reload();
    } else if (answer.ok) {
      update(await answer.text());
      updatedAt = performance.now();
      failed = "";
    } else {
      failed = `serve answers ${answer.status}`;
    }
  } catch {
    failed = "serve does not answer";
  } finally {
    running = false;
    sayAge();
  }
}

function rows() {
  return [...document.querySelectorAll("table.rows tbody tr, .actions > li")]
    .map((row) => row.querySelector("a:not(.open)"))
    .filter((link) => link !== null);
}

function step(by) {
  const links = rows();
  if (!links.length) return;
  const row = document.activeElement?.closest?.("tr, li");
  const at = row ? links.findIndex((link) => link.closest("tr, li") === row) : -1;
  const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
  links[Math.min(Math.max(next, 0), links.length - 1)].focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const help = document.getElementById("help");
  if (help.open) return;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (link) link.click();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "t") changeTheme();
  else if (event.key === "?") help.showModal();
  else if (event.key === "/") document.getElementById("filter")?.focus();
  else return;
  event.preventDefault();
}

setTheme(remembered());
for (const [id, act] of [["theme", changeTheme], ["keys", () => document.getElementById("help").showModal()]]) {
  const button = document.getElementById(id);
  button.hidden = false;
  button.addEventListener("click", act);
}
document.addEventListener("keydown", onKey);
for (const choice of document.querySelectorAll(".filter select")) {
  choice.addEventListener("change", () => choice.form.requestSubmit());
}
if (everyMs) {
  setInterval(refresh, everyMs);
  setInterval(sayAge, 1000);
  document.addEventListener("visibilitychange", refresh);
  sayAge();
}

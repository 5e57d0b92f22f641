"""Deployers: driftline carries a rollback out itself, through the API of what runs the models.

Asking is the first choice (deployers poll `sinks.api`, or take the webhook of `sinks.webhook`);
this is the second, for set-ups where nothing can ask. What every deployer here keeps:

* it acts only on the object that configuration names for the model, and only if that object runs
  the very version to leave and can run the version to return to;
* a change is conditional: the request carries what was read (uid, resourceVersion, the version
  and the figures that change), and the far side refuses it if any of that is different by now;
* asking twice for the same action changes nothing the second time;
* unless ``dry_run: false`` is set, everything is read and checked, and nothing is changed.
"""

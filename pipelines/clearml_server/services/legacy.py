"""Parameters and configurations as clients before 2020 (API before 2.9) write them.

They are part of the execution: ``parameters`` by full name, ``model_desc`` by name.
"""

TYPE = "legacy"
ARGUMENTS, FLAGS = "Args", "TF_DEFINE"
FIELDS = ("hyperparams", "configuration")


def modern(request: dict, task: dict | None = None) -> dict:
    """Return a request with these parts where they are today.

    Args:
        task: What is edited; of it stays what is not given in the old way.
    """
    execution = dict(request.get("execution") or {})
    parameters = execution.pop("parameters", None)
    designs = execution.pop("model_desc", None)
    if parameters is None and designs is None:
        return request
    request = request | {"execution": execution}
    if parameters is not None:
        kept = request.get("hyperparams") or (task or {}).get("hyperparams", {})
        sections = {name: _without_old(items) for name, items in kept.items()}
        for full_name, value in parameters.items():
            section, name = _split(full_name)
            item = {"section": section, "name": name, "value": str(value), "type": TYPE}
            sections.setdefault(section, {})[name] = item
        request["hyperparams"] = {name: s for name, s in sections.items() if s}
    if designs is not None:
        kept = request.get("configuration") or (task or {}).get("configuration", {})
        request["configuration"] = _without_old(kept) | {
            name: {"name": name, "value": str(value), "type": TYPE}
            for name, value in designs.items()
        }
    return request


def _without_old(items: dict) -> dict:
    return {name: item for name, item in items.items() if item.get("type") != TYPE}


def _split(full_name: str) -> tuple[str, str]:
    if full_name.startswith(f"{FLAGS}/"):
        return FLAGS, full_name.removeprefix(f"{FLAGS}/")
    return ARGUMENTS, full_name

// Elements. Everything shown becomes text nodes and attributes, never markup: names,
// parameters and logs come from programs that may have taken them from anywhere.

export const fill = (node, parts) => {
  for (const part of parts.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    if (part instanceof Node) node.append(part);
    else if (typeof part === "object")
      for (const [name, value] of Object.entries(part)) {
        if (typeof value === "function") node.addEventListener(name, value);
        else if (value !== false && value !== undefined) node.setAttribute(name, value);
      }
    else node.append(String(part));
  }
  return node;
};

/** el("td.number", {title: "x", click: f}, child, ...): classes, attributes, handlers. */
export const el = (kind, ...parts) => {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  return fill(node, parts);
};

export const svg = (tag, ...parts) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), parts);

/** A link, or plain text where the address is none that a browser should follow. */
export function link(address, ...parts) {
  const here = `${location.origin}/files/`;
  if (address?.startsWith(here)) address = `/view/files/${address.slice(here.length)}`;
  let url;
  try { url = new URL(address, location.origin); } catch { return el("span", parts); }
  if (!/^(https?|blob):$/.test(url.protocol)) return el("span", parts);
  return el("a", {href: url.href, rel: "noreferrer"}, parts);
}

export const taskLink = (task, ...parts) => link(
  `/projects/${encodeURIComponent(task.project ?? "*")}/tasks/${
    encodeURIComponent(task.id)}`, parts.length ? parts : task.name);
export const modelLink = model =>
  link(`/models/${encodeURIComponent(model.id)}`, model.name);
export const projectLink = (id, names) => id && names[id] &&
  link(`/projects/${encodeURIComponent(id)}`, names[id]);

export const tags = list => (list ?? []).map(tag => el("span.tag", tag));
export const status = name => el(`span.status.${/^\w+$/.test(name) ? name : "other"}`,
  (name ?? "").replaceAll("_", " "));
export const details = (title, open, ...parts) =>
  el("details", open ? {open: ""} : null, el("summary", title), parts);
export const facts = pairs => el("dl", Object.entries(pairs)
  .filter(([, value]) => value && value.length !== 0)
  .map(([name, value]) => [el("dt", name), el("dd", value)]));
export const button = (title, act, more = {}) =>
  el("button", {type: "button", click: act, ...more}, title);
export const action = (title, act, more = {}) => {
  const node = button(title, act, more);
  node.classList.add("act");
  return node;
};

/** A table of `columns` ([title, classes, row => content]) and one row per item. */
export const table = (columns, rows, rowKind = () => null) => el("div.scroll", el("table",
  el("thead", el("tr", columns.map(([title, kind]) => el(`th${kind}`, title)))),
  el("tbody", rows.map(row => el("tr", rowKind(row),
    columns.map(([, kind, content]) => el(`td${kind}`, content(row))))))));

/** Show a part of the page; it is built anew only when its data changed. */
const shown = new Map();
export function section(title, data, build) {
  const json = JSON.stringify(data) ?? "";
  if (!shown.has(title)) {
    shown.set(title, {node: document.querySelector("main").appendChild(el("section"))});
  }
  const part = shown.get(title);
  if (part.json === json) return part.node;
  part.json = json;
  const empty = !data || (typeof data === "object" && !Object.keys(data).length);
  const parts = empty ? [] : [build(data)].flat();
  const focused = part.node.contains(document.activeElement)
    && document.activeElement.dataset.key;
  part.node.hidden = !parts.length;
  part.node.replaceChildren(title.startsWith("#") ? "" : el("h2", title));
  fill(part.node, parts);
  if (focused) part.node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  return part.node;
}

/** A question with buttons; resolves to the form's values, or null if it is given up. */
export function ask(title, content, {confirm = "OK", danger = false} = {}) {
  return new Promise(resolve => {
    const form = el("form", {method: "dialog"}, el("h2", title), content, el("p.bar",
      el(danger ? "button.act.danger" : "button.act", {value: "yes"}, confirm),
      // Enter alone must not do what cannot be undone
      el("button.act", {value: "", formnovalidate: "", autofocus: danger && ""},
        "Cancel")));
    const dialog = el("dialog", {"aria-label": title}, form);
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(new FormData(form));
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? values : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
export const fields = pairs => el("div.fields", pairs.map(([name, label, value]) => {
  const id = `field-${name}`;
  return [el("label", {for: id}, label), el("input", {id, name, value: value ?? ""})];
}));

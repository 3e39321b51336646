// A table of tasks, datasets or models with search, filters, order and chosen columns.
// All of that is in the address, so that it can be kept and sent; the server does the
// searching, so that it covers what is not on the page.
import {action, button, el, section, table} from "./dom.js";
import {read} from "./server.js";
import {literal, metricsOf} from "./text.js";

const STATUSES = ["created", "queued", "in_progress", "completed", "failed", "stopped",
  "published"];
const STEP = 100;
const COMPARISONS = {"=": "is", ">": "at least", "<": "at most"};

/** What the address says: {q, status, tag, order, columns, where}. */
export function choices() {
  const query = new URLSearchParams(location.search);
  const list = name => (query.get(name) ?? "").split(",").filter(Boolean);
  return {q: query.get("q") ?? "", status: list("status"), tag: list("tag"),
    order: query.get("order") ?? "", columns: query.get("columns")?.split(",") ?? null,
    where: query.getAll("where").map(text => /^([pm]):(.*?)([=<>])([^=<>]*)$/.exec(text))
      .filter(Boolean).map(([text, kind, name, sign, value]) =>
        ({text, kind, name, sign, value}))};
}

/** Change some of it; null leaves one out. */
export function choose(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of [value].flat())
      if (one !== null && one !== "") query.append(name, one);
  }
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
}

const field = path => path.split("/").map(part => part.replaceAll(".", "%2E"));
const parameterPath = name => {
  const [group, ...rest] = field(name);
  return `hyperparams.${group}.${rest.join("/")}.value`;
};
const parametersOf = row => Object.entries(row.hyperparams ?? {}).flatMap(
  ([group, items]) => Object.values(items).map(item =>
    ({name: `${group}/${item.name}`, value: item.value})));
const metricName = last => `${last.metric}/${last.variant}`;

/**
 * A listing in a section of its own.
 *
 * `columns` are {key, title, kind, show, sort (field of the server), off (not at first)};
 * `fetch(request)` returns the rows and their total; `acts` are {title, act(rows)}.
 */
export class Listing {
  constructor({title, columns, fetch, searched, statuses = false, facets = false,
    acts = () => [], empty}) {
    Object.assign(this, {title, columns, fetch, searched, statuses, facets, acts, empty});
    this.limit = STEP;
    this.picked = new Set();
    this.known = {p: new Map(), m: new Map()};  // facets seen: name to the server's path
    this.bar = null;
  }

  /** Read the rows and show them; `fixed` are filters that nobody can change. */
  async show(fixed, refresh, context = {}) {
    this.refresh = refresh;
    if (this.facets && /(^|=|,|-)m:/.test(decodeURIComponent(location.search))
      && !this.known.m.size) await this.learnMetrics();
    const {rows, total} = await this.fetch({...fixed, ...this.request()});
    this.rows = rows;
    if (this.facets) this.learn(rows);
    const chosen = choices(), columns = this.visible(chosen);
    const node = section(this.title, {rows, total, chosen, context, picked: [...this.picked],
      acts: this.acts().map(one => one.title)}, () => [
      this.controls(),
      rows.length ? table(this.withOrder(columns, chosen), rows)
        : el("p", this.isFiltered(chosen) ? "Nothing matches." : this.empty),
      el("p.bar", el("span.faint", `${rows.length} of ${total}`),
        rows.length < total && action("More", () => { this.limit += STEP; refresh(); }))]);
    for (const th of node.querySelectorAll("th")) this.markOrder(th, chosen);
    return rows;
  }

  request() {
    const {q, status, tag, order, where} = choices();
    const request = {page: 0, page_size: this.limit, count_total: true};
    if (q) request._any_ = {fields: this.searched, pattern: literal(q)};
    if (status.length) request.status = status;
    if (tag.length) request.tags = ["__$all", ...tag];
    for (const {kind, name, sign, value} of where) {
      const path = kind === "p" ? parameterPath(name) : this.known.m.get(name);
      if (!path) continue;
      if (kind === "p") request[path] = [value];
      else request[`${path}.value`] = sign === "<" ? [null, Number(value)]
        : sign === ">" ? [Number(value), null] : [Number(value), Number(value)];
    }
    const column = this.allColumns().find(one => one.key === order.replace(/^-/, ""));
    request.order_by = column?.sort ? [(order[0] === "-" ? "-" : "") + column.sort]
      : ["-created"];
    return request;
  }

  isFiltered = ({q, status, tag, where}) =>
    Boolean(q || status.length || tag.length || where.length);

  /** Metrics of tasks that are not on the page, where the address names some. */
  async learnMetrics() {
    const {metrics} = await read("projects.get_unique_metric_variants");
    for (const one of metrics) this.known.m.set(metricName(one),
      `last_metrics.${one.metric_hash}.${one.variant_hash}`);
  }

  learn(rows) {
    for (const row of rows) {
      for (const {name} of parametersOf(row)) this.known.p.set(name, parameterPath(name));
      for (const last of metricsOf(row)) this.known.m.set(metricName(last), last.path);
    }
  }

  allColumns() {
    const found = [...this.columns];
    for (const name of [...this.known.p.keys()].sort()) found.push({key: `p:${name}`,
      title: name, kind: ".short", off: true, sort: parameterPath(name),
      show: row => parametersOf(row).find(item => item.name === name)?.value ?? ""});
    for (const [name, path] of [...this.known.m].sort()) found.push({key: `m:${name}`,
      title: name, kind: ".number", off: true, sort: `${path}.value`, show: row => {
        const last = metricsOf(row).find(one => metricName(one) === name);
        return last ? Number(last.value.toPrecision(5)) : "–";
      }});
    return found;
  }

  visible({columns}) {
    const all = this.allColumns();
    return columns ? all.filter(one => columns.includes(one.key) || one.key === "name")
      : all.filter(one => !one.off);
  }

  withOrder(columns, {order}) {
    const pick = this.acts().length ? [["", ".pick", row => el("input", {type: "checkbox",
      "aria-label": `choose ${row.name}`, "data-key": `pick ${row.id}`,
      checked: this.picked.has(row.id) ? "" : false, change: event => {
        this.picked[event.target.checked ? "add" : "delete"](row.id);
        this.refresh();
      }})]] : [];
    return [...pick, ...columns.map(({key, title, kind = "", show, sort}) =>
      [sort ? button(title, () => {
        const down = order === `-${key}`;
        choose({order: down ? key : order === key ? null : `-${key}`});
        this.refresh();
      }, {"data-key": `order ${key}`}) : title, kind, show])];
  }

  markOrder(th, {order}) {
    const key = th.querySelector("button")?.dataset.key?.slice(6);
    if (key && order.replace(/^-/, "") === key)
      th.setAttribute("aria-sort", order[0] === "-" ? "descending" : "ascending");
  }

  /** The form above the table. It is made once, so that nobody loses what he types. */
  controls() {
    const chosen = choices();
    if (!this.bar) {
      const search = el("input", {type: "search", value: chosen.q, "aria-label": "search", "data-key": "search",
        placeholder: "search", input: event => this.later({q: event.target.value})});
      const tag = el("input.brief", {value: chosen.tag.join(","), placeholder: "tags", "data-key": "tags",
        "aria-label": "tags, with commas between",
        input: event => this.later({tag: event.target.value.replaceAll(" ", "")})});
      this.lists = el("span.bar");
      this.bar = el("div", el("div.bar", search, tag, this.lists), this.more = el("div.bar"));
    }
    const open = [...this.lists.querySelectorAll("details")].map(one => one.open);
    this.lists.replaceChildren(...[
      this.statuses && this.boxes("Status", "status", STATUSES.map(name =>
        [name, name.replaceAll("_", " ")]), chosen.status),
      this.boxes("Columns", "columns", this.allColumns().map(one => [one.key, one.title]),
        this.visible(chosen).map(one => one.key)),
      this.facets && this.condition(),
    ].filter(Boolean));
    [...this.lists.querySelectorAll("details")].forEach((one, i) => { one.open = open[i]; });
    const picked = this.rows.filter(row => this.picked.has(row.id));
    this.more.replaceChildren(
      ...chosen.where.map(({text, name, sign, value}) => action(
        `${name} ${COMPARISONS[sign]} ${value} ×`, () => {
          choose({where: chosen.where.map(one => one.text).filter(one => one !== text)});
          this.refresh();
        }, {title: "remove this condition"})),
      ...this.acts().map(({title, act, least = 1, danger}) => {
        const node = action(title, () => act(picked, () => this.picked.clear()),
          {disabled: picked.length < least ? "" : false, "data-key": `act ${title}`});
        if (danger) node.classList.add("danger");
        return node;
      }),
      this.acts().length ? el("span.faint", `${picked.length} chosen`) : "");
    return this.bar;
  }

  later(change) {
    choose(change);
    clearTimeout(this.timer);
    this.timer = setTimeout(this.refresh, 250);
  }

  boxes(title, name, options, chosen) {
    return el("details", el("summary", title), el("div", options.map(([key, text]) =>
      el("label", el("input", {type: "checkbox", value: key, "data-key": `${name} ${key}`,
        checked: chosen.includes(key) ? "" : false, change: event => {
          const keys = options.map(([one]) => one).filter(one =>
            one === key ? event.target.checked : chosen.includes(one));
          choose({[name]: keys.join(",") || null});
          this.refresh();
        }}), text))));
  }

  /** A condition on a parameter or a metric, of those that the rows have. */
  condition() {
    const names = [...[...this.known.p.keys()].sort().map(name => `p:${name}`),
      ...[...this.known.m.keys()].sort().map(name => `m:${name}`)];
    if (!names.length) return null;
    const what = el("select", {"aria-label": "parameter or metric"},
      names.map(name => el("option", {value: name}, name.slice(2))));
    const sign = el("select", {"aria-label": "comparison"},
      Object.entries(COMPARISONS).map(([value, text]) => el("option", {value}, text)));
    const value = el("input.brief", {"aria-label": "value"});
    const add = action("Add", () => {
      const old = choices().where.map(one => one.text);
      choose({where: [...old, `${what.value}${sign.value}${value.value}`]});
      this.refresh();
    });
    return el("details", el("summary", "Condition"),
      el("div", what, sign, value, add, el("p.faint", "parameters: is; metrics: all")));
  }
}

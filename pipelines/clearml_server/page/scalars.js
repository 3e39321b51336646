// Curves with one set of controls above them, which the address keeps.
import {el} from "./dom.js";
import {choose} from "./listing.js";
import {chart, smoothed} from "./chart.js";

const AXES = {iter: "iteration", time: "time", relative: "seconds since the start"};

export function curveChoices() {
  const query = new URLSearchParams(location.search);
  const limit = name => query.has(name) ? Number(query.get(name)) : NaN;
  return {smooth: Number(query.get("smooth") ?? 0), axis: query.get("axis") ?? "iter",
    log: query.has("log"), range: [limit("from"), limit("to")]};
}

/** What to ask the server for; see `curves`. */
export const keyOf = ({axis}) => axis === "iter" ? "iter" : "timestamp";

export function curveControls(refresh) {
  const {smooth, axis, log, range} = curveChoices();
  const set = changes => { choose(changes); refresh(); };
  const limit = (name, value) => el("label", name, el("input", {type: "number",
    "aria-label": `${name} on the horizontal axis`, value: Number.isFinite(value) ? value : "",
    "data-key": `curves ${name}`, change: event => set({[name]: event.target.value || null})}));
  return el("div.bar",
    el("label", "Smoothing", el("input", {type: "range", min: 0, max: .99, step: .01,
      value: smooth, "data-key": "curves smooth",
      change: event => set({smooth: Number(event.target.value) || null})})),
    el("label", "Over", el("select", {"data-key": "curves axis",
      change: event => set({axis: event.target.value === "iter" ? null : event.target.value,
        from: null, to: null})},
    Object.entries(AXES).map(([value, text]) =>
      el("option", {value, selected: value === axis ? "" : false}, text)))),
    el("label", el("input", {type: "checkbox", checked: log ? "" : false,
      "data-key": "curves log", change: event => set({log: event.target.checked || null})}),
    "logarithmic"),
    limit("from", range[0]), limit("to", range[1]),
    el("span.faint", "drag over a curve to zoom, double-click to see all"));
}

/** Cards of curves: [[title, [{name, x, y}, ...]], ...]; x in iterations or ms. */
export function curves(metrics, {smooth, axis, log, range}) {
  const moved = series => {
    const start = Math.min(...series.x);
    const x = axis === "iter" ? series.x
      : series.x.map(time => (axis === "time" ? time : time - start) / 1000);
    return {...series, lines: true, x, y: smooth ? smoothed(series.y, smooth) : series.y};
  };
  return el("div.cards", metrics.map(([title, series]) => el("figure.card", el("h3", title),
    chart(series.map(moved), {xTitle: AXES[axis], time: axis === "time", log, range,
      yTitle: title, sync: "scalars"}))));
}

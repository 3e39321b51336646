// Lines, points and bars, drawn by uPlot (vendored beside this file).
import {el} from "./dom.js";
import {number} from "./text.js";

export const COLOURS = ["#3b7dd8", "#e0803a", "#2f9e69", "#c94f7c", "#8a63d2", "#8c8f3a",
  "#2aa0b5", "#a8644a"];
const HEIGHT = 230;
const FEW = 30;  // points of a line that are marked one by one

/** Exponential moving average; `weight` is that of the past, 0 to 1. */
export function smoothed(values, weight) {
  let mean = 0, share = 0;
  return values.map(value => {
    if (!Number.isFinite(value)) return null;
    mean = mean * weight + value * (1 - weight);
    share = share * weight + (1 - weight);  // as if there were no zeros before the start
    return mean / share;
  });
}

/**
 * A chart of series {name, x, y, lines, points, bars}.
 *
 * x may be texts: they are places then. Options: xTitle, yTitle, log (vertical axis),
 * time (x are milliseconds), range ([low, high] of x), sync (a name: charts of one name
 * show their cursors at the same place).
 */
export function chart(series, options = {}) {
  const {xTitle = "", yTitle = ""} = options;
  const labels = series.some(one => one.x.some(x => typeof x === "string"))
    ? [...new Set(series.flatMap(one => one.x.map(String)))] : null;
  const bars = series.filter(one => one.bars);
  const tables = series.map(one => table(one, options, labels, bars));
  if (!tables.some(([, y]) => y.some(Number.isFinite)))
    return el("p.faint", "no finite values");
  const name = `${yTitle} ${series.map(one => one.name).join(", ")}; over ${
    xTitle || "x"}. Arrow keys read values, plus and minus zoom, 0 shows all.`;
  const node = el("div.plot", {role: "img", "aria-label": name, tabindex: 0});
  let plot = null;
  new ResizeObserver(() => {
    const width = node.clientWidth;
    if (!width) return;
    if (plot) plot.setSize({width, height: HEIGHT});
    else plot = draw(node, width, uPlot.join(tables), series, {...options, labels});
  }).observe(node);
  node.addEventListener("keydown", event => plot && byKey(plot, event));
  return node;
}

/** [x, y] of one series, in rising order of x. */
function table(one, options, labels, bars) {
  const places = labels && new Map(labels.map((label, place) => [label, place]));
  // bars of several series stand beside each other
  const shift = one.bars ? (bars.indexOf(one) - (bars.length - 1) / 2) * .8 / bars.length
    * (labels ? 1 : gap(bars)) : 0;
  const points = one.x
    .map((x, i) => [(places ? places.get(String(x)) : x) + shift, one.y[i]])
    .filter(([x]) => Number.isFinite(x))
    .map(([x, y]) => [x, Number.isFinite(y) && !(options.log && y <= 0) ? y : null])
    .sort((a, b) => a[0] - b[0]);
  return [points.map(([x]) => x), points.map(([, y]) => y)];
}

function gap(bars) {
  const xs = [...new Set(bars.flatMap(one => one.x))].sort((a, b) => a - b);
  const gaps = xs.slice(1).map((x, i) => x - xs[i]);
  return gaps.length ? gaps.reduce((a, b) => Math.min(a, b)) : 1;
}

function draw(node, width, data, series, options) {
  const style = getComputedStyle(document.documentElement);
  const [faint, line] = ["--faint", "--line"].map(name => style.getPropertyValue(name));
  const axis = {stroke: faint, grid: {stroke: line, width: 1}, ticks: {stroke: line},
    font: "11px system-ui", labelFont: "11px system-ui", labelSize: 16};
  const {labels, time, log, range} = options;
  const bars = series.filter(one => one.bars).length;
  const xs = data[0], spare = bars ? (xs.length > 1 ? (xs.at(-1) - xs[0]) / xs.length : 1) : 0;
  const plot = new uPlot({
    width, height: HEIGHT,
    cursor: {sync: options.sync ? {key: options.sync} : undefined, drag: {x: true}},
    scales: {
      x: {time: Boolean(time), range: bars ? (u, low, high) => [low - spare, high + spare]
        : undefined},
      y: {distr: log ? 3 : 1, range: bars ? (u, low, high) =>
        [Math.min(0, low), Math.max(0, high) * 1.05 || 1] : undefined},
    },
    axes: [
      {...axis, label: options.xTitle, size: 34,
        ...(labels ? {incrs: [1, 2, 5, 10, 20, 50, 100],
          values: (u, at) => at.map(x => (labels[x] ?? "").slice(0, 12))} : {}),
        ...(time || labels ? {} : {values: (u, at) => at.map(x => x === null ? "" : number(x))})},
      {...axis, label: options.yTitle || undefined, size: 58,
        values: (u, at) => at.map(y => y === null ? "" : number(y))},
    ],
    series: [
      {label: options.xTitle || (labels ? "at" : "x"), value: (u, x) => x === null ? "–"
        : labels ? labels[Math.round(x)] : time ? new Date(x * 1000).toLocaleString()
          : number(x)},
      ...series.map((one, place) => ({
        label: one.name || "value",
        stroke: COLOURS[place % COLOURS.length], width: 1.6, spanGaps: true,
        fill: one.bars ? COLOURS[place % COLOURS.length] : undefined,
        value: (u, y) => y === null || y === undefined ? "–" : number(y),
        paths: one.bars ? uPlot.paths.bars({size: [.76 / bars, 60]})
          : one.lines ? undefined : () => null,
        points: {show: !one.bars && (one.points || one.x.length < FEW),
          size: one.lines ? 5 : 8, fill: COLOURS[place % COLOURS.length]},
      })),
    ],
  }, data, node);
  if (range?.some(Number.isFinite)) {
    const at = (value, otherwise) => Number.isFinite(value) ? value : otherwise;
    plot.setScale("x", {min: at(range[0], xs[0]), max: at(range[1], xs.at(-1))});
  }
  return plot;
}

function byKey(plot, event) {
  const xs = plot.data[0], {min, max} = plot.scales.x;
  const place = plot.cursor.idx ?? -1, step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (step) {
    const at = Math.min(xs.length - 1, Math.max(0, place + step));
    plot.setCursor({left: plot.valToPos(xs[at], "x"), top: 10});
  } else if (event.key === "+" || event.key === "-") {
    const middle = place < 0 ? (min + max) / 2 : xs[place];
    const half = (max - min) * (event.key === "+" ? .25 : 1);
    plot.setScale("x", {min: Math.max(xs[0], middle - half),
      max: Math.min(xs.at(-1), middle + half)});
  } else if (event.key === "0") plot.setScale("x", {min: xs[0], max: xs.at(-1)});
  else return;
  event.preventDefault();
}

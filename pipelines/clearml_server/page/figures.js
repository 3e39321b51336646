// Figures that programs reported, as far as this page draws them.
import {button, el, fill, link, svg, table} from "./dom.js";
import {fileName, number} from "./text.js";
import {chart} from "./chart.js";
import {parse} from "./server.js";

const WIDTH = 400, MOST_ROWS = 500, MOST_CELLS = 10000;
const finite = values => values.filter(Number.isFinite);
const lowest = values => values.reduce((a, b) => Math.min(a, b), Infinity);
const highest = values => values.reduce((a, b) => Math.max(a, b), -Infinity);
const titleOf = axis =>
  (typeof axis?.title === "string" ? axis.title : axis?.title?.text) ?? "";

export function plotCard(plot) {
  const text = typeof plot.plot_str === "string" ? plot.plot_str : "{}";
  let drawn = null;
  try { drawn = figure(parse(text)); } catch (error) { console.error(error); }
  const download = button("JSON", () => {
    const address = URL.createObjectURL(new Blob([text], {type: "application/json"}));
    const name = `${plot.metric} ${plot.variant}.json`;
    fill(el("a"), [{href: address, download: name}]).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  });
  return el("figure.card",
    el("h3", [plot.metric, plot.variant].filter(Boolean).join(" · ")),
    drawn ?? el("p", "This kind of plot is not drawn here."),
    el("p.faint", `iteration ${plot.iter} · `, download));
}

export function picture(url) {
  const anchor = link(url, fileName(url));
  if (!anchor.href?.startsWith(`${location.origin}/`)
    || !/\.(png|jpe?g|gif|webp|bmp|svg|avif)$/i.test(new URL(anchor.href).pathname))
    return anchor;
  const image = el("img", {src: anchor.href, loading: "lazy", alt: fileName(url)});
  image.addEventListener("load", () =>
    image.classList.toggle("large", image.naturalWidth > 200));
  anchor.replaceChildren(image);
  return anchor;
}

/** What this page can draw of a Plotly figure; null if nothing. */
function figure({data = [], layout = {}}) {
  const types = new Set(data.map(trace => trace.type ?? "scatter"));
  const only = (...known) => data.length && [...types].every(type => known.includes(type));
  if (only("table")) return data.map(reportedTable);
  if (only("heatmap") && data.length === 1 && data[0].z?.length
    && data[0].z.flat().length <= MOST_CELLS) return heatmap(data[0], layout);
  if (only("scatter", "scattergl", "bar", "histogram"))
    return chart(data.map(asSeries),
      {xTitle: titleOf(layout.xaxis), yTitle: titleOf(layout.yaxis)});
  const pictures = (layout.images ?? []).map(image => picture(image.source));
  return !data.length && pictures.length ? pictures : null;
}

function asSeries(trace, place) {
  const name = trace.name ?? (place ? String(place + 1) : "");
  if (trace.type === "histogram") return {name, bars: true, ...histogram(trace)};
  let {x, y} = trace;
  if (trace.orientation === "h") [x, y] = [y, x];
  y ??= x.map((_, i) => i);
  x ??= y.map((_, i) => i);
  const mode = trace.mode ?? "lines";
  return {name, x, y, bars: trace.type === "bar", lines: mode.includes("lines"),
    points: mode.includes("markers")};
}

function histogram({x, y, nbinsx}) {
  const values = finite(x ?? y ?? []), [low, high] = [lowest(values), highest(values)];
  const bins = nbinsx || Math.max(1, Math.min(50, Math.ceil(Math.sqrt(values.length))));
  const width = (high - low) / bins || 1, counts = Array(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.floor((v - low) / width))]++;
  return {x: counts.map((_, i) => low + (i + .5) * width), y: counts};
}

function reportedTable({header, cells}) {
  const columns = (header?.values ?? []).map((title, c) => {
    const values = cells?.values?.[c] ?? [];
    const kind = values.some(Number.isFinite) ? ".number" : "";
    return [number([title].flat()[0]), kind, r => number(values[r])];
  });
  const count = highest([0, ...(cells?.values ?? []).map(column => column.length)]);
  const rows = Array.from({length: Math.min(count, MOST_ROWS)}, (_, r) => r);
  return el(columns.length > 4 ? "div.broad" : "div", table(columns, rows),
    el("p.faint", `${count} row${count === 1 ? "" : "s"}`,
      count > MOST_ROWS ? `, the first ${MOST_ROWS} of them shown` : ""));
}

/** A matrix as coloured cells, with its numbers where they fit. */
function heatmap({x, y, z}, layout) {
  const columns = highest(z.map(row => row.length)), values = finite(z.flat());
  const [low, high] = [lowest(values), highest(values)];
  const names = [x ?? z[0].map((_, i) => i), y ?? z.map((_, i) => i)];
  const left = 30 + 6.5 * Math.min(16, highest(names[1].map(name => String(name).length)));
  const cell = Math.max(18, Math.min(44, (WIDTH - left) / columns));
  const [width, height] = [left + cell * columns + 4, cell * z.length];
  const upright = highest(names[0].map(name => String(name).length)) * 6.5 < cell;
  const bottom = 24 + (upright ? 12
    : 6.5 * Math.min(16, highest(names[0].map(name => String(name).length))));
  const down = layout.yaxis?.autorange === "reversed";
  const picture = svg("svg", {viewBox: `0 0 ${width} ${height + bottom}`, role: "img"});
  picture.style.maxWidth = picture.style.minWidth = `${width}px`;
  z.forEach((row, r) => {
    const top = cell * (down ? r : z.length - 1 - r);
    fill(picture, [svg("text", {x: left - 6, y: top + cell / 2 + 4, "text-anchor": "end"},
      String(names[1][r] ?? r).slice(0, 16))]);
    row.forEach((value, c) => {
      const share = Number.isFinite(value) ? (value - low) / (high - low || 1) : 0;
      fill(picture, [svg("rect", {x: left + cell * c, y: top, width: cell - 1,
        height: cell - 1, fill: "var(--accent)", "fill-opacity": .06 + .94 * share},
        svg("title", `${titleOf(layout.yaxis) || "row"} ${names[1][r] ?? r}, ${
          titleOf(layout.xaxis) || "column"} ${names[0][c] ?? c}: ${number(value)}`))]);
      if (number(value).length <= cell / 6) fill(picture, [svg("text",
        {x: left + cell * (c + .5) - .5, y: top + cell / 2 + 4, "text-anchor": "middle",
          class: share > .5 ? "dark" : "inside", "pointer-events": "none"}, number(value))]);
    });
  });
  for (let c = 0; c < columns; c++) {
    const [at, y] = [left + cell * (c + .5), height + 12];
    fill(picture, [svg("text", upright ? {x: at, y, "text-anchor": "middle"}
      : {x: at + 4, y: y - 6, "text-anchor": "end", transform: `rotate(-90 ${at + 4} ${y - 6})`},
      String(names[0][c] ?? c).slice(0, 16))]);
  }
  fill(picture, [
    svg("text", {x: left + cell * columns / 2, y: height + bottom - 4,
      "text-anchor": "middle"}, titleOf(layout.xaxis)),
    svg("text", {x: 12, y: height / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${height / 2})`}, titleOf(layout.yaxis))]);
  return el(width > WIDTH ? "div.scroll.broad" : "div.scroll", picture);
}

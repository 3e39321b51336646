// Figures as text.

export const number = value => typeof value !== "number" ? String(value ?? "–")
  : String(Number(value.toPrecision(Math.abs(value) < 1000 ? 4 : 10)));

export const when = time => time ? new Date(time).toLocaleString(undefined,
  {dateStyle: "medium", timeStyle: "short"}) : "–";

export const isLive = task => task.status === "in_progress" || task.status === "queued";

export function duration(task) {
  if (!task.started) return "–";
  const end = task.completed ?? (isLive(task) ? Date.now() : task.started);
  const seconds = Math.max(0, Math.round((new Date(end) - new Date(task.started)) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours} h ${minutes} min`
    : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

export function size(bytes) {
  if (typeof bytes !== "number") return "–";
  const power = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${number(bytes / 1000 ** power)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

export const ago = time => {
  const seconds = Math.max(0, Math.round((Date.now() - new Date(time)) / 1000));
  return seconds < 90 ? `${seconds} s ago`
    : seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : when(time);
};

export const SINGLE = -(2 ** 31);  // the iteration under which single values are kept
export const metricsOf = task => Object.entries(task.last_metrics ?? {})
  .flatMap(([metric, variants]) => Object.entries(variants)
    .map(([variant, last]) => ({...last, path: `last_metrics.${metric}.${variant}`})));
export const singleValues = task => metricsOf(task).filter(last => last.iter === SINGLE);
export const isMachine = name => name.startsWith(":monitor:");

export const fileName = uri => {
  const last = (uri ?? "").split("/").pop();
  try { return decodeURIComponent(last); } catch { return last; }
};

/** Text that a regular expression of the server takes literally. */
export const literal = text => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

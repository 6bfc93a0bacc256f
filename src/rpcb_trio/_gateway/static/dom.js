// Elements, without innerHTML: nothing that a service says is ever read as markup.

export const root = new URL("../", import.meta.url);

/** An element with properties (or attributes, where there is a dash in the name) and children. */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

/** "cups_of_tea" as "Cups of tea". */
export const capital = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

export const byId = (id) => document.getElementById(id);

/** Put elements in the place of others, and release the files that those showed. */
export function replace(place, ...elements) {
  for (const each of place.querySelectorAll("audio, img, a[download]")) {
    const url = each.src ?? each.href;
    if (url.startsWith("blob:")) URL.revokeObjectURL(url);
  }
  place.replaceChildren(...elements);
}

/** 1234567 as "1.2 MB". */
export function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit += 1) bytes /= 1000;
  return `${unit === 0 ? bytes : bytes.toFixed(bytes < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Milliseconds in three digits: "0.42 ms", "312 ms", "2.33 s". */
export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 999.5) return `${(ms / 1000).toPrecision(3)}\u00a0s`;
  return `${ms >= 100 ? Math.round(ms) : Number(ms.toPrecision(ms >= 10 ? 3 : 2))}\u00a0ms`;
}

// Spectrograms: a short-time Fourier transform, drawn in decibels. Those shown together share one scale.

import { el } from "../../dom.js";
import { RATE } from "./sound.js";

const WINDOW = 512; // samples: 32 ms, 31 Hz a line
const BINS = WINDOW / 2;
const COLUMNS = 720; // at most; a longer sound has wider steps
const RANGE = 75; // decibels from the loudest to black

// From silence to loud, with lightness rising evenly (in the manner of magma).
const COLOURS = [[3, 3, 10], [32, 14, 70], [84, 17, 116], [141, 36, 125], [201, 59, 108], [242, 105, 88], [253, 170, 110], [252, 246, 190]];
const PALETTE = palette(256);

const hann = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));

/** Decibels of each frequency over time: `columns` times `BINS`. */
export function analyse(samples) {
  const hop = Math.max(WINDOW / 4, Math.ceil(samples.length / COLUMNS));
  const columns = Math.max(1, Math.ceil(samples.length / hop));
  const levels = new Float32Array(columns * BINS);
  const re = new Float32Array(WINDOW);
  const im = new Float32Array(WINDOW);
  let loudest = -Infinity;
  for (let column = 0; column < columns; column += 1) {
    const start = column * hop - WINDOW / 2;
    for (let i = 0; i < WINDOW; i += 1) re[i] = hann[i] * (samples[start + i] ?? 0);
    im.fill(0);
    transform(re, im);
    for (let bin = 0; bin < BINS; bin += 1) {
      const level = 10 * Math.log10(re[bin] ** 2 + im[bin] ** 2 + 1e-12);
      levels[column * BINS + bin] = level;
      loudest = Math.max(loudest, level);
    }
  }
  return { levels, columns, loudest, seconds: samples.length / RATE };
}

/** The picture of `analysis`, with axes, on a scale that others share: { loudest, seconds }. */
export function draw(analysis, scale, name) {
  const { levels, columns, seconds } = analysis;
  const canvas = el("canvas", { width: columns, height: BINS, role: "img" });
  canvas.setAttribute("aria-label", `Spectrogram of ${name}: 0 to ${RATE / 2000} kHz over ${seconds.toFixed(1)} s`);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, BINS);
  for (let column = 0; column < columns; column += 1) {
    for (let bin = 0; bin < BINS; bin += 1) {
      const above = 1 + (levels[column * BINS + bin] - scale.loudest) / RANGE;
      const colour = 3 * Math.round(255 * Math.max(0, Math.min(1, above)));
      const at = 4 * ((BINS - 1 - bin) * columns + column);
      image.data.set([PALETTE[colour], PALETTE[colour + 1], PALETTE[colour + 2], 255], at);
    }
  }
  context.putImageData(image, 0, 0);
  return framed(canvas, seconds, scale.seconds);
}

/** The canvas between its axes; it is as wide as its share of the longest sound. */
function framed(canvas, seconds, longest) {
  const head = el("div", { className: "playhead", hidden: true });
  const plot = el("div", { className: "plot" }, canvas, head);
  const width = seconds / longest;
  canvas.style.width = `${100 * width}%`;
  const kilohertz = el("div", { className: "axis-y", "aria-hidden": "true" });
  for (let each = 0; each <= RATE / 2000; each += 2) kilohertz.append(tick(each, "bottom", each / (RATE / 2000), "kHz"));
  const time = el("div", { className: "axis-x", "aria-hidden": "true" });
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600].find((each) => longest / each <= 6) ?? 1200;
  for (let each = 0; each * step < longest * 0.97; each += 1) {
    time.append(tick(Number((each * step).toFixed(1)), "left", (each * step) / longest, "s"));
  }
  const figure = el("div", { className: "spectrogram" }, kilohertz, plot, time);
  figure.playheadAt = (second) => {
    head.hidden = false;
    head.style.left = `${100 * Math.min(width, second / longest)}%`;
  };
  figure.secondAt = (event) => {
    const { left, width: wide } = plot.getBoundingClientRect();
    return ((event.clientX - left) / wide) * longest;
  };
  return figure;
}

function tick(number, side, share, unit) {
  const label = el("span", {}, number === 0 ? `0 ${unit}` : String(number));
  label.style[side] = `${100 * share}%`;
  return label;
}

/** Fourier transform in place, of a power of two (Cooley and Tukey, 1965). */
function transform(re, im) {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i += 1) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k += 1) {
      const cos = Math.cos((Math.PI * k) / half);
      const sin = -Math.sin((Math.PI * k) / half);
      for (let even = k; even < size; even += 2 * half) {
        const odd = even + half;
        const real = re[odd] * cos - im[odd] * sin;
        const imaginary = re[odd] * sin + im[odd] * cos;
        re[odd] = re[even] - real;
        im[odd] = im[even] - imaginary;
        re[even] += real;
        im[even] += imaginary;
      }
    }
  }
}

function palette(size) {
  const made = new Uint8ClampedArray(3 * size);
  for (let i = 0; i < size; i += 1) {
    const place = (i / (size - 1)) * (COLOURS.length - 1);
    const below = Math.min(Math.floor(place), COLOURS.length - 2);
    for (let c = 0; c < 3; c += 1) {
      made[3 * i + c] = COLOURS[below][c] + (place - below) * (COLOURS[below + 1][c] - COLOURS[below][c]);
    }
  }
  return made;
}

// Draws the timelines of a report: thinning to the view, buttons and keys, light and dark.
"use strict";

const REACH = 0.25; // share of the view that a step of the keys or buttons moves

function decoded(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

// Positions of the smallest and the largest value of each of `bins` parts of values[from...to[,
// or all of them where they are few. A part without a value keeps its first, which breaks the line.
function extremes(values, from, to, bins) {
  const count = to - from;
  if (count <= 4 * bins) return Int32Array.from({ length: count }, (_, i) => from + i);
  const kept = new Int32Array(2 * bins);
  for (let b = 0; b < bins; b++) {
    const start = from + Math.floor((b * count) / bins);
    const end = from + Math.floor(((b + 1) * count) / bins);
    let low = start, high = start;
    for (let i = start; i < end; i++) {
      if (values[i] < values[low] || Number.isNaN(values[low])) low = i;
      if (values[i] > values[high] || Number.isNaN(values[high])) high = i;
    }
    kept[2 * b] = Math.min(low, high);
    kept[2 * b + 1] = Math.max(low, high);
  }
  return kept;
}

class Timeline {
  constructor(data, model) {
    this.data = data;
    this.named = (part) => model.document.get_model_by_name(`${data.id}-${part}`);
    this.range = this.named("x");
    this.plots = data.plots.map(this.named);
    const values = {};
    this.series = data.series.map((s) => {
      // A residual without values of its own is a difference of two series that are there.
      const [whole, part] = (s.minus ?? []).map((name) => values[name]);
      values[s.part] = s.values === null ? whole.map((y, k) => y - part[k]) : decoded(s.values);
      return { source: this.named(s.part), values: values[s.part], offset: s.offset };
    });
    // Seconds, or samples, between two points; a shortened series has fewer points than samples.
    this.step = data.step * data.samples_per_point;
    this.end = data.samples * data.step;
    this.pending = false;
    const later = () => this.drawLater();
    this.range.change.connect(later);
    this.plots[0].properties.inner_width.change.connect(later);
    this.draw();
  }

  drawLater() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  draw() {
    const bins = Math.max(50, this.plots[0].inner_width || 600);
    const from = Math.max(0, Math.floor(this.range.start / this.step) - 1);
    for (const { source, values, offset } of this.series) {
      const to = Math.min(values.length, Math.ceil(this.range.end / this.step) + 2);
      const kept = extremes(values, Math.min(from, to), to, bins);
      const x = Float64Array.from(kept, (i) => i * this.step);
      source.data = { x, y: Float64Array.from(kept, (i) => values[i] + offset) };
    }
    this.data.bands.forEach((band) => this.drawBand(band));
  }

  drawBand({ part, around, half }) {
    const { x, y } = this.named(around).data;
    // Two points of a pixel share its whole band: the view hides nothing of it.
    const thinned = y.length > 1 && y.length < this.inView();
    const at = (k, better) => (thinned ? better(y[k & ~1], y[k | 1] ?? y[k]) : y[k]);
    this.named(part).data = {
      x,
      lower: y.map((_, k) => at(k, Math.min) - half),
      upper: y.map((_, k) => at(k, Math.max) + half),
    };
  }

  inView() {
    return (this.range.end - this.range.start) / this.step;
  }

  show(start, end) {
    const width = Math.min(end - start, this.end);
    const first = Math.min(Math.max(start, 0), this.end - width);
    this.range.setv({ start: first, end: first + width });
  }

  act(action) {
    const { start, end } = this.range;
    const width = end - start, middle = (start + end) / 2, least = 4 * this.step;
    const zoom = (factor) => {
      const half = Math.max(width * factor, least) / 2;
      this.show(middle - half, middle + half);
    };
    const [from, to] = this.data.worst;
    const actions = {
      left: () => this.show(start - REACH * width, end - REACH * width),
      right: () => this.show(start + REACH * width, end + REACH * width),
      in: () => zoom(0.5),
      out: () => zoom(2),
      all: () => this.show(0, this.end),
      worst: () => this.show(from * this.data.step, to * this.data.step),
    };
    actions[action]();
  }

  // The legend's entry for a series shows or hides its lines.
  toggle(parts, visible) {
    const names = parts.map((part) => `${this.data.id}-${part}`);
    for (const plot of this.plots) {
      for (const renderer of plot.renderers) {
        if (names.includes(renderer.data_source?.name)) renderer.visible = visible;
      }
    }
  }

  paint(color) {
    for (const plot of this.plots) {
      for (const axis of [...plot.below, ...plot.left]) {
        axis.setv({
          axis_label_text_color: color("--ink"),
          major_label_text_color: color("--ink"),
          axis_line_color: color("--line"),
          major_tick_line_color: color("--line"),
        });
      }
      for (const grid of plot.center) {
        if ("grid_line_color" in grid) grid.grid_line_color = color("--line");
      }
    }
  }
}

const KEYS = {
  ArrowLeft: "left", ArrowRight: "right", "+": "in", "=": "in", "-": "out",
  0: "all", Home: "all", w: "worst",
};

const timelines = [];

function paint() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  timelines.forEach((timeline) => timeline.paint(color));
}

async function embed(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const views = await Bokeh.embed.embed_item(data.item);
  const timeline = new Timeline(data, [...views.roots][0].model);
  timelines.push(timeline);
  paint();
  const frame = figure.querySelector(".interactive");
  frame.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.action) timeline.act(button.dataset.action);
    if (button?.dataset.parts) {
      const visible = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", visible);
      timeline.toggle(button.dataset.parts.split(" "), visible);
    }
  });
  frame.addEventListener("keydown", (event) => {
    const action = KEYS[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    timeline.act(action);
  });
}

function start() {
  document.documentElement.classList.add("scripted"); // in place of the printed figures
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  // A page of many records opens at once: each is drawn when it comes near.
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      embed(target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("figure.timeline").forEach((figure) => near.observe(figure));
}

document.addEventListener("DOMContentLoaded", start);

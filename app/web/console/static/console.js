// Draws charts from their numbers, turns times to the viewer's zone, and keeps live parts quiet while nobody looks.
"use strict";
(() => {
  const charts = new Map(); // id of a figure → {plot, root, shape}
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faint = (colour) => colour + "22";

  function dataOf(chart) {
    const columns = [chart.x, ...Object.values(chart.series)];
    for (const value of Object.values(chart.limits)) columns.push(chart.x.map(() => value));
    return columns;
  }

  // Another shape (other series, another look) needs another plot; the same shape takes new numbers.
  const shapeOf = (chart) => JSON.stringify([Object.keys(chart.series), Object.keys(chart.limits), chart.style, chart.zone, chart.unit, dark.matches]);

  function written(value, decimals) {
    if (value == null) return "–";
    if (decimals != null) return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) >= 1000 ? 6 : 3 });
  }

  function seriesOf(chart) {
    const colours = [1, 2, 3, 4, 5, 6].map((n) => ink("--series-" + n));
    const edges = new Set(chart.bands.flat());
    let next = 0;
    const colourOf = {};
    const lines = Object.keys(chart.series).map((name) => {
      const edge = edges.has(name);
      const dashed = chart.dashed.includes(name);
      const colour = edge ? colours[0] : colours[next++ % colours.length];
      colourOf[name] = colour;
      const line = {
        label: name, stroke: edge ? faint(colour) : colour, width: edge ? 1 : 1.75,
        points: { show: chart.x.length < 2 || (chart.style === "points" && !edge && !dashed), size: 6 },
        value: (_plot, value) => written(value, chart.decimals),
      };
      if (dashed) line.dash = [5, 4];
      if (chart.style === "points" && !edge && !dashed) line.paths = () => null;
      if (chart.style === "bars") { line.paths = uPlot.paths.bars({ size: [0.75, 60] }); line.fill = faint(colour); }
      if (chart.style === "steps") line.paths = uPlot.paths.stepped({ align: 1 });
      return line;
    });
    for (const name of Object.keys(chart.limits)) {
      lines.push({ label: name, class: "limit", stroke: ink("--bad"), width: 1, dash: [2, 3], points: { show: false }, value: (_plot, value) => written(value, chart.decimals) });
    }
    return lines;
  }

  function drawWords(plot) {
    const { ctx } = plot;
    const ratio = devicePixelRatio || 1;
    const right = plot.bbox.left + plot.bbox.width;
    ctx.save();
    ctx.textBaseline = "alphabetic";
    ctx.strokeStyle = ink("--mark");
    ctx.fillStyle = ink("--quiet");
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    for (const [name, limit] of Object.entries(plot.told.limits)) {
      const y = plot.valToPos(limit, "y", true);
      if (y > plot.bbox.top && y <= plot.bbox.top + plot.bbox.height) ctx.fillText(name, right, y - 3 * ratio);
    }
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    let free = -Infinity; // labels do not overlap; the table has them all
    for (const mark of plot.told.marks) {
      const x = plot.valToPos(mark.at_s, "x", true);
      if (x < plot.bbox.left || x > right) continue;
      ctx.beginPath();
      ctx.moveTo(x, plot.bbox.top);
      ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
      ctx.stroke();
      const width = ctx.measureText(mark.label).width;
      const fits = x + 4 * ratio + width < right;
      if (x - (fits ? 0 : width + 8 * ratio) > free) {
        ctx.textAlign = fits ? "left" : "right";
        ctx.fillText(mark.label, x + (fits ? 4 : -4) * ratio, plot.bbox.top + 11 * ratio);
        free = x + (fits ? 12 * ratio + width : 4 * ratio);
      }
    }
    ctx.restore();
  }

  // How times read along an axis: [from this step on, how, and what is added where a year, month or day begins].
  const CLOCK = [
    [31536000, "{YYYY}", null, null, null, null, null, null, 1],
    [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
    [0.001, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  ];

  // Room for the outermost bars, and around a point that is alone.
  function wide(plot, low, high) {
    const { x, style, x_name } = plot.told;
    if (low == null) return [0, 1];
    if (x.length === 1) return x_name === "time" ? [x[0] - 1800, x[0] + 1800] : [x[0] - 1, x[0] + 1];
    const half = style === "bars" ? (x[x.length - 1] - x[0]) / (x.length - 1) / 2 : 0;
    return [low - half, high + half];
  }

  function optionsOf(chart, box) {
    const axis = { stroke: ink("--quiet"), grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const names = Object.keys(chart.series);
    const ofTime = chart.x_name === "time";
    const options = {
      width: Math.max(200, box.clientWidth), height: Number(box.dataset.height) || 200,
      series: [{ label: ofTime ? "time" : chart.x_name, value: ofTime ? "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" : (_plot, value) => written(value) }, ...seriesOf(chart)],
      bands: chart.bands.map(([low, high]) => ({ series: [names.indexOf(high) + 1, names.indexOf(low) + 1], fill: faint(ink("--series-1")) })),
      scales: { x: { time: ofTime, range: wide }, y: { range: (_plot, low, high) => {
        if (low == null) return [0, 1];
        if (low === high) return low > 0 ? [0, low * 1.25] : [low, low + 1];
        const top = Math.max(high, ...Object.values(chart.limits).filter((limit) => limit <= 2.5 * high || high === 0));
        const whole = chart.style === "bars" || chart.style === "steps"; // their area is what is read
        const bottom = low >= 0 && (whole || low < top * 0.6) ? 0 : low - (top - low) * 0.1;
        return [bottom, top === bottom ? bottom + 1 : top + (top - bottom) * 0.08];
      } } },
      axes: [{ ...axis, space: 70, values: ofTime ? CLOCK : (_plot, values) => values.map((value) => written(value)) }, { ...axis, size: (_plot, values) => Math.max(56, 18 + 6.6 * Math.max(0, ...(values ?? []).map((value) => value.length))), values: (_plot, values) => values.map((value) => written(value)) }],
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      hooks: { draw: [drawWords] },
    };
    if (chart.zone) options.tzDate = (stamp) => uPlot.tzDate(new Date(stamp * 1000), chart.zone);
    return options;
  }

  function draw(box) {
    const id = box.closest("figure").id;
    const chart = JSON.parse(box.dataset.chart);
    const shape = shapeOf(chart);
    const known = charts.get(id);
    if (known && known.shape === shape) {
      if (known.plot.root.parentNode !== box) box.replaceChildren(known.plot.root);
      known.plot.told = chart;
      known.plot.setData(dataOf(chart));
      return;
    }
    known?.plot.destroy();
    box.replaceChildren();
    const plot = new uPlot(optionsOf(chart, box), dataOf(chart), (plot, begin) => {
      plot.told = chart;
      box.append(plot.root);
      begin();
    });
    charts.set(id, { plot, shape });
  }

  const told = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" });

  function dress(root) {
    for (const slider of root.querySelectorAll("[data-mirrors]")) slider.hidden = false;
    for (const box of root.querySelectorAll("[data-chart]")) draw(box);
    for (const time of root.querySelectorAll("time:not([data-fixed])")) {
      time.textContent = told.format(new Date(time.dateTime));
    }
  }

  function redraw() {
    for (const { plot } of charts.values()) plot.destroy();
    charts.clear();
    dress(document);
  }

  const opened = new Map(); // id of details in a live part → what it holds, while the part is exchanged
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches("[data-live]") && document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    opened.clear();
    for (const each of event.detail.target.querySelectorAll("details[open][id]")) {
      opened.set(each.id, [...each.children].filter((child) => child.matches(".late")));
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    for (const [id, late] of opened) {
      const details = document.getElementById(id);
      if (!details) continue;
      details.open = true;
      late.forEach((child) => details.querySelector(".late")?.replaceWith(child));
    }
    opened.clear();
    dress(event.detail.target);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.querySelectorAll("[data-live]").forEach((part) => htmx.trigger(part, "seen"));
  });

  // A slider beside a field that is sent: of no use without the script, so only here does it show.
  document.addEventListener("input", (event) => {
    const field = document.getElementById(event.target.dataset.mirrors ?? "");
    if (field) field.value = Number(event.target.value).toPrecision(5) * 1;
  });

  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  dark.addEventListener("change", redraw);
  dress(document);
})();

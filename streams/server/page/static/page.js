// What templates cannot do: say how a list changed, and that the server does not answer.
"use strict";

const LIST = "#live .list > li";
let placesBefore = new Map();

function places() {
  return new Map([...document.querySelectorAll(LIST)].map((li, index) => [li.dataset.item, index]));
}

function markMoves() {
  for (const [index, li] of [...document.querySelectorAll(LIST)].entries()) {
    const before = placesBefore.get(li.dataset.item);
    const moved = li.querySelector(".moved");
    if (before === undefined) {
      li.classList.add("is-new");
      moved.textContent = "+";
    } else if (before !== index) {
      moved.textContent = (before > index ? "↑" : "↓") + Math.abs(before - index);
    }
  }
}

function tellLost(isLost) {
  document.getElementById("lost").hidden = !isLost;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id === "live") {
    placesBefore = places();
  }
});

document.addEventListener("htmx:afterSettle", (event) => {
  const live = document.getElementById("live");
  if (live && event.detail.elt.id === "live") {
    if (placesBefore.size) {
      markMoves();
    }
    document.getElementById("changed").textContent = live.dataset.says;
  }
});

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, () => tellLost(true));
}
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr && event.detail.xhr.status) {
    tellLost(false);
  }
});

// Charts: an element with data-chart names where its numbers are.
const CHART_EVERY_MS = 2000;

function colour(name) {
  const probe = document.createElement("span");
  probe.className = "probe-" + name;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function chartOptions(data) {
  const soft = colour("soft");
  const line = {lineStyle: {color: colour("rule")}};
  return {
    animation: false,
    color: [colour("one"), colour("two"), colour("three")],
    textStyle: {fontFamily: getComputedStyle(document.body).fontFamily},
    grid: {left: 8, right: 12, top: 34, bottom: 8, containLabel: true},
    legend: {top: 0, left: 0, textStyle: {color: soft}, itemHeight: 8},
    tooltip: {trigger: "axis", renderMode: "richText"},
    xAxis: {type: "time", axisLabel: {color: soft, hideOverlap: true}, axisLine: line},
    yAxis: {type: "value", axisLabel: {color: soft, formatter: `{value} ${data.unit}`}, splitLine: line, min: 0},
    useUTC: true,
    series: data.series.map((one, index) => ({
      name: one.name, type: "line", showSymbol: false, connectNulls: false, data: one.points,
      lineStyle: {width: 2, type: ["solid", "dashed", "dotted"][index % 3]},
    })),
  };
}

async function drawChart(element, chart) {
  try {
    const answer = await fetch(element.dataset.chart);
    if (answer.ok) {
      chart.setOption(chartOptions(await answer.json()));
    }
  } catch {
    tellLost(true);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll("[data-chart]")) {
    const chart = echarts.init(element, null, {renderer: "canvas"});
    drawChart(element, chart);
    setInterval(() => drawChart(element, chart), CHART_EVERY_MS);
    addEventListener("resize", () => chart.resize());
  }
});

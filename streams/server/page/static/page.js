// What templates cannot do: say how a list changed, and that the server does not answer.
"use strict";

const LIST = "#live .list > li";
let placesBefore = new Map();
let revisionBefore = "";
let placesOfRevisionBefore = new Map();

function places() {
  return new Map([...document.querySelectorAll(LIST)].map((li, index) => [li.dataset.item, index]));
}

function moves(before, now) {
  const found = new Map();
  for (const [item, index] of now) {
    const place = before.get(item);
    if (place !== index) {
      found.set(item, place === undefined ? "+" : (place > index ? "↑" : "↓") + Math.abs(place - index));
    }
  }
  return found;
}

function showMarks(marks) {
  for (const li of document.querySelectorAll(LIST)) {
    const mark = marks.get(li.dataset.item) || "";
    li.classList.toggle("is-new", mark === "+");
    li.querySelector(".moved").textContent = mark;
  }
}

function tellLost(isLost) {
  document.getElementById("lost").hidden = !isLost;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status >= 400 && event.detail.requestConfig.elt.hasAttribute("hx-trigger")) {
    event.detail.shouldSwap = false;  // a part that comes again and again shows what it had
    return;
  }
  if (event.detail.target.id === "live") {
    placesBefore = places();
    revisionBefore = event.detail.target.dataset.revision;
  }
});

document.addEventListener("htmx:afterSettle", (event) => {
  const live = document.getElementById("live");
  if (live && event.detail.elt.id === "live") {
    if (live.dataset.revision !== revisionBefore) {  // else the window, or a provisional list, has changed
      placesOfRevisionBefore = placesBefore;
      document.getElementById("changed").textContent = live.dataset.says;
    }
    showMarks(placesOfRevisionBefore.size ? moves(placesOfRevisionBefore, places()) : new Map());
    askForNews();  // a state that came while this one was on its way
  }
});

// A user's page: the server sends a mark of each new state, and the page asks for what it does not show.
const LOST_AFTER_MS = 3000;
let newestMark = "";

function askForNews() {
  const live = document.getElementById("live");
  if (live && newestMark && live.dataset.seen !== newestMark) {
    htmx.trigger(live, "news");
  }
}

// Only a page that is seen listens: a browser opens few connections to one server.
let stream = null;
let losing = 0;

function listen() {
  const live = document.getElementById("live");
  if (!live || document.hidden || stream) {
    return;
  }
  stream = new EventSource(live.dataset.stream);
  stream.addEventListener("changed", (event) => {
    newestMark = event.data;
    askForNews();
  });
  stream.addEventListener("open", () => {
    clearTimeout(losing);
    losing = 0;
    tellLost(false);
  });
  stream.addEventListener("error", () => {
    losing = losing || setTimeout(() => tellLost(true), LOST_AFTER_MS);
  });
}

function stopListening() {
  if (stream) {
    stream.close();
    stream = null;
    clearTimeout(losing);
    losing = 0;
  }
}

document.addEventListener("DOMContentLoaded", listen);
document.addEventListener("visibilitychange", () => (document.hidden ? stopListening() : listen()));

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

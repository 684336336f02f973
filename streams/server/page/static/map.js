// The catalogue's map: a click, or the form beside it, shows an item's nearest items and marks them.
"use strict";

function scatterOptions(data) {
  const soft = colour("soft");
  const axis = {type: "value", scale: true, axisLabel: {color: soft}, splitLine: {lineStyle: {color: colour("rule")}}};
  const looks = {
    items: {symbol: "circle", symbolSize: 5, itemStyle: {color: colour("dots"), opacity: 0.7}},
    near: {symbol: "triangle", symbolSize: 10, itemStyle: {color: colour("three")}},
    window: {symbol: "diamond", symbolSize: 12, itemStyle: {color: colour("two")}},
    user: {symbol: "pin", symbolSize: 26, itemStyle: {color: colour("danger")}},
  };
  return {
    animation: false,
    textStyle: {fontFamily: getComputedStyle(document.body).fontFamily},
    grid: {left: 8, right: 12, top: 34, bottom: 8, containLabel: true},
    legend: {top: 0, left: 0, textStyle: {color: soft}, selectedMode: false},
    tooltip: {renderMode: "richText", formatter: (at) => at.data[3] || at.data[2] || data.names.user},
    xAxis: axis,
    yAxis: axis,
    series: Object.entries(looks).map(([kind, look]) => ({
      id: kind, name: data.names[kind], type: "scatter", data: data[kind] || [], ...look,
    })),
  };
}

function nearPoints() {
  return [...document.querySelectorAll("#near li[data-x]")].map((li) => [
    Number(li.dataset.x), Number(li.dataset.y), li.dataset.item, li.querySelector(".title").textContent,
  ]);
}

document.addEventListener("DOMContentLoaded", async () => {
  const element = document.getElementById("map");
  if (!element) {
    return;
  }
  const chart = echarts.init(element, null, {renderer: "canvas"});
  addEventListener("resize", () => chart.resize());
  chart.on("click", (at) => {
    if (at.data[2]) {
      htmx.ajax("GET", `/page/items/near?id=${encodeURIComponent(at.data[2])}`, {target: "#near", swap: "innerHTML"});
    }
  });
  document.addEventListener("htmx:afterSettle", () => {
    chart.setOption({series: [{id: "near", data: nearPoints()}]});
  });
  try {
    const answer = await fetch(element.dataset.points);
    if (answer.ok) {
      chart.setOption(scatterOptions(await answer.json()));
      element.dataset.drawn = "yes";
    }
  } catch {
    tellLost(true);
  }
});

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

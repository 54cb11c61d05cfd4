// The page's style sheet and script.
#include "loadgen/report_style.h"

namespace loadgen {

const char* const kReportStyle = R"css(
:root{color-scheme:light dark;
--paper:#ffffff;--panel:#f5f7f9;--edge:#d5dbe2;--ink:#17202b;--soft:#515c6a;--grid:#e6eaee;
--good:#006b4f;--good-tint:#e3f4ee;--bad:#b0281a;--bad-tint:#fdeae7;--warn:#7d5200;--warn-tint:#fdf2d9;
--s1:#0072b2;--s2:#d55e00;--s3:#6e7884;--s4:#007a5a;--s5:#b8509a;--s6:#4d3a00;--s7:#2f1c6e}
@media (prefers-color-scheme:dark){:root{
--paper:#11161d;--panel:#1a212a;--edge:#333e4b;--ink:#e8ecf1;--soft:#a6b1be;--grid:#262f3a;
--good:#58d0a7;--good-tint:#12312a;--bad:#ff9384;--bad-tint:#3d1d1a;--warn:#f2bd58;--warn-tint:#372a10;
--s1:#56b4e9;--s2:#ff8a3d;--s3:#98a4b1;--s4:#2fb98b;--s5:#f5a8d2;--s6:#fff0a6;--s7:#ddd2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:26px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 10px}
p{margin:6px 0}
a{color:var(--s1)}
.soft,.note,.meta{color:var(--soft)}
.meta{font-size:13px;margin-top:6px;overflow-wrap:anywhere}
.note{font-size:13px;margin:2px 0 0}
code{font:13px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.verdict{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:12px;margin:20px 0}
.verdict>div{border:1px solid var(--edge);border-left:6px solid var(--edge);border-radius:8px;padding:12px 16px}
.verdict b{display:block;font-size:19px;line-height:1.3}
.verdict span{color:var(--soft);font-size:14px}
.verdict .good{border-color:var(--good);background:var(--good-tint)}.verdict .good b{color:var(--good)}
.verdict .bad{border-color:var(--bad);background:var(--bad-tint)}.verdict .bad b{color:var(--bad)}
.verdict .warn{border-color:var(--warn);background:var(--warn-tint)}.verdict .warn b{color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:12px}
.tile{background:var(--panel);border-radius:8px;padding:12px 14px}
.tile .soft{font-size:13px}
.tile b{display:block;font-size:23px;line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile b small{font-size:15px;font-weight:500}
table{border-collapse:collapse;width:100%;font-size:14px}
.wide{overflow-x:auto}
th{font-weight:600;text-align:left;color:var(--soft);font-size:13px;border-bottom:1px solid var(--edge);padding:6px 10px;vertical-align:bottom;white-space:nowrap}
td{border-bottom:1px solid var(--grid);padding:6px 10px;vertical-align:top}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.thin{color:var(--soft);font-style:italic}
td .soft{font-size:13px}td code{white-space:nowrap}
.good-text{color:var(--good);font-weight:600;white-space:nowrap}.bad-text{color:var(--bad);font-weight:600;white-space:nowrap}
.bar{position:relative;width:180px;height:10px;margin-top:6px;background:var(--grid);border-radius:5px}
.bar i{position:absolute;left:0;top:0;bottom:0;border-radius:5px;background:var(--good)}
.bar.bad i{background:var(--bad)}
.bar u{position:absolute;top:-3px;bottom:-3px;width:2px;background:var(--ink)}
.kinds{display:flex;flex-wrap:wrap;gap:8px;padding:0;margin:0 0 12px;list-style:none;font-size:14px}
.kinds li{border:1px solid var(--edge);border-radius:14px;padding:2px 12px}
.kinds .bad{border-color:var(--bad);background:var(--bad-tint);color:var(--bad);font-weight:600}
.plots{display:grid;grid-template-columns:repeat(6,1fr);gap:22px 20px}
.plots>*{min-width:0}
.span6{grid-column:span 6}.span3{grid-column:span 3}.span2{grid-column:span 2}
figure{margin:0;position:relative}
figcaption{display:flex;flex-wrap:wrap;gap:2px 18px;align-items:baseline;margin-bottom:4px}
figcaption b{font-size:15px;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:0 14px;font-size:13px;color:var(--soft)}
.legend>span{display:inline-flex;align-items:center;gap:5px;white-space:nowrap}
.chart{display:block;width:100%;height:auto;overflow:visible}
.chart:focus-visible{outline:2px solid var(--s1);outline-offset:2px}
.chart text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
.grid{stroke:var(--grid)}.axis{stroke:var(--soft)}
path[class^=l]{fill:none;stroke-width:1.8;stroke-linejoin:round}
.l1{stroke:var(--s1);stroke-width:2.2}.l2{stroke:var(--s2)}.l3{stroke:var(--s3);stroke-width:1.2}
.l4{stroke:var(--s4);stroke-dasharray:7 3}.l5{stroke:var(--s5);stroke-dasharray:2.5 2.5}
.l6{stroke:var(--s6);stroke-dasharray:9 3 2 3}.l7{stroke:var(--s7);stroke-dasharray:12 4}
.d1{fill:var(--s1)}.d2{fill:var(--s2)}.d3{fill:var(--s3)}.d4{fill:var(--s4)}.d5{fill:var(--s5)}.d6{fill:var(--s6)}.d7{fill:var(--s7)}
.mark line{stroke:var(--bad);stroke-dasharray:4 3}
.mark.many line{stroke-dasharray:none}
.mark circle{fill:var(--bad)}
.chart .mark text{fill:var(--paper);text-anchor:middle;font-size:11px;font-weight:700}
.cursor line{stroke:var(--ink);opacity:.45}
.read{position:absolute;pointer-events:none;z-index:1;background:var(--paper);border:1px solid var(--edge);border-radius:6px;padding:5px 9px;font-size:13px;line-height:1.4;box-shadow:0 2px 8px #0003;white-space:nowrap;font-variant-numeric:tabular-nums}
.read[hidden]{display:none}
.empty{color:var(--soft);border:1px dashed var(--edge);border-radius:8px;padding:18px;text-align:center}
.faults{columns:260px;font-size:14px;margin:4px 0 16px;padding-left:22px}
summary{cursor:pointer;font-size:14px;color:var(--soft);padding:6px 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.how{background:var(--panel);border-radius:8px;padding:14px 18px;font-size:14px}
footer{margin-top:36px;border-top:1px solid var(--edge);padding-top:10px;font-size:13px;color:var(--soft)}
@media screen and (max-width:820px){.tiles{grid-template-columns:repeat(2,1fr)}.span3,.span2{grid-column:span 6}
.span6{overflow-x:auto}.span6 .chart{min-width:720px}}
@media print{body{font-size:12px}main{max-width:none;padding:0}table,dl,.how,.faults,.verdict span{font-size:11px}code{font-size:10px}.verdict{grid-template-columns:repeat(3,1fr);gap:6px}.verdict b{font-size:15px}td,th{padding:3px 5px}.tiles{gap:6px}.tile{padding:8px}.tile b{font-size:17px}.tile b small{font-size:12px}.tile .soft,.note,.meta,td .soft{font-size:10px}.bar{width:110px}h2{margin-top:22px}figure,tr,.tile,.verdict>div{break-inside:avoid}h2{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}.read,.cursor{display:none}}
@media print and (prefers-color-scheme:dark){:root{--paper:#fff;--panel:#f5f7f9;--edge:#d5dbe2;--ink:#17202b;--soft:#515c6a;--grid:#e6eaee;
--good:#006b4f;--good-tint:#e3f4ee;--bad:#b0281a;--bad-tint:#fdeae7;--warn:#7d5200;--warn-tint:#fdf2d9;
--s1:#0072b2;--s2:#d55e00;--s3:#6e7884;--s4:#007a5a;--s5:#b8509a;--s6:#4d3a00;--s7:#2f1c6e}}
)css";

const char* const kReportScript = R"js(
(function () {
  "use strict";
  var svg = "http://www.w3.org/2000/svg";
  function add(parent, name, attributes) {
    var made = document.createElementNS(svg, name);
    for (var key in attributes) made.setAttribute(key, attributes[key]);
    return parent.appendChild(made);
  }
  document.querySelectorAll("figure.plot").forEach(function (figure) {
    var source = figure.querySelector("script[type='application/json']");
    var chart = figure.querySelector("svg.chart");
    if (!source || !chart) return;
    var data = JSON.parse(source.textContent), at = -1, cursor = null;
    var box = figure.appendChild(document.createElement("div"));
    box.className = "read";
    box.hidden = true;
    function hide() {
      if (cursor) cursor.remove();
      cursor = null;
      box.hidden = true;
    }
    function show(i) {
      hide();
      at = Math.max(0, Math.min(data.x.length - 1, i));
      var x = data.x[at];
      cursor = add(chart, "g", { "class": "cursor" });
      add(cursor, "line", { x1: x, x2: x, y1: chart.dataset.top, y2: chart.dataset.base });
      box.textContent = "";
      box.appendChild(document.createElement("b")).textContent = data.t[at];
      data.l.forEach(function (line) {
        if (line.y[at] === null) return;
        add(cursor, "circle", { "class": "d" + line.s, cx: x, cy: line.y[at], r: 4 });
        box.appendChild(document.createElement("div")).textContent = line.n + "  " + line.v[at];
      });
      box.hidden = false;
      var seen = chart.getBoundingClientRect(), outer = figure.getBoundingClientRect();
      var left = seen.left - outer.left + x * seen.width / chart.viewBox.baseVal.width;
      box.style.top = seen.top - outer.top + 24 + "px";
      box.style.left = (left + 14 + box.offsetWidth > outer.width ? left - 14 - box.offsetWidth : left + 14) + "px";
    }
    chart.addEventListener("pointermove", function (event) {
      var seen = chart.getBoundingClientRect();
      var x = (event.clientX - seen.left) * chart.viewBox.baseVal.width / seen.width, best = 0;
      data.x.forEach(function (one, i) { if (Math.abs(one - x) < Math.abs(data.x[best] - x)) best = i; });
      show(best);
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      show(at + step);
    });
  });
})();
)js";

}  // namespace loadgen

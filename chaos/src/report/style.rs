//! How the page looks, light and dark, and the little script that follows the pointer.

pub(super) const CSS: &str = r#"
:root { color-scheme: light dark; --back: #fbfbfa; --text: #1c1e21; --soft: #6b7178; --line: #dcdfe3; --lane: #f2f3f4;
  --run: #9db4c8; --power: #a9c9a4; --lost: #e9c46a; --fencing: #e07a3f; --fenced: #8b95a1; --bad: #c4162a;
  --fault: #a3322a; --vote: #7a5ca8; --decision: #b3541e; --permit: #1f6f8b; --off: #c4162a; --proof: #2d7d46; --other: #6b7178;
  --on0: #7fb3d5; --on1: #f0b27a; --on2: #82c7a5; --on3: #c39bd3; --on4: #e6cf6d; --on5: #f1948a; --on6: #9fb0bd; --on7: #b7d36b; --ink: #14171a; }
@media (prefers-color-scheme: dark) { :root { --back: #15181b; --text: #e4e6e8; --soft: #98a0a8; --line: #343a40; --lane: #1c2024;
  --run: #40586d; --power: #3d6140; --lost: #94761f; --fencing: #a3501f; --fenced: #565f69; --bad: #ff5a67;
  --fault: #ff8a7a; --vote: #b99be6; --decision: #f0985c; --permit: #62bfe0; --off: #ff5a67; --proof: #6fce8c; --other: #98a0a8;
  --on0: #2f6389; --on1: #8f5a26; --on2: #2f7355; --on3: #6c4480; --on4: #7d6a1c; --on5: #8d453c; --on6: #4c5b67; --on7: #5d7423; --ink: #f4f5f6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1.6rem 4rem; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
.verdict { border-left: .4rem solid var(--proof); padding: .6rem 1rem; margin: .8rem 0; background: var(--lane); font-size: 1.05rem; }
.verdict.broken { border-color: var(--bad); } .verdict b { color: var(--bad); }
.soft { color: var(--soft); } a { color: inherit; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 2.2rem; margin: .4rem 0; padding: 0; list-style: none; }
details { margin: .3rem 0; } summary { cursor: pointer; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .4rem 0 .6rem; font-size: 13px; color: var(--soft); }
.legend svg { width: 15px; height: 15px; vertical-align: -3px; margin-right: .3rem; overflow: visible; }
.chart { display: grid; grid-template-columns: max-content 1fr; border: 1px solid var(--line); }
.names { border-right: 1px solid var(--line); font-size: 13px; white-space: nowrap; }
.names div { padding: 0 .7rem; display: flex; align-items: center; justify-content: flex-end; max-width: 15rem; overflow: hidden; }
.names div.first { border-top: 1px solid var(--line); } .names .bmc { color: var(--soft); }
.scroll { overflow-x: auto; position: relative; } .scroll svg { display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--text); } svg .tick { fill: var(--soft); } svg .grid { stroke: var(--line); }
svg .first { stroke: var(--line); } svg .stripe { fill: var(--lane); } svg .on { fill: var(--ink); pointer-events: none; }
.running { fill: var(--run); } .power { fill: var(--power); } .lost { fill: var(--lost); } .fencing { fill: var(--fencing); } .fenced { fill: var(--fenced); }
.on0 { fill: var(--on0); } .on1 { fill: var(--on1); } .on2 { fill: var(--on2); } .on3 { fill: var(--on3); } .on4 { fill: var(--on4); } .on5 { fill: var(--on5); } .on6 { fill: var(--on6); } .on7 { fill: var(--on7); }
.m { stroke: var(--back); stroke-width: .8; } a:hover .m, a:focus .m { stroke: var(--text); stroke-width: 2; }
.fault { fill: var(--fault); } .vote { fill: var(--vote); } .decision { fill: var(--decision); } .permit { fill: var(--permit); }
.off { fill: var(--off); } .switch { fill: var(--text); } .proof { fill: var(--proof); } .start { fill: var(--proof); } .other { fill: var(--other); }
.order { stroke: var(--off); stroke-dasharray: 2 3; opacity: .6; } .healed { stroke: var(--proof); stroke-dasharray: 5 4; }
.breach { stroke: var(--bad); stroke-width: 2.5; } svg .breach-words { fill: var(--bad); font-weight: 700; }
#cross { stroke: var(--soft); pointer-events: none; visibility: hidden; }
#said { min-height: 1.6em; position: sticky; bottom: 0; background: var(--back); font: 13px ui-monospace, monospace; padding: .3rem 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; font: 12.5px/1.45 ui-monospace, monospace; width: 100%; }
td { padding: .05rem .6rem; vertical-align: top; overflow-wrap: anywhere; } td:first-child { text-align: right; color: var(--soft); white-space: nowrap; width: 6.5em; }
tr:target { outline: 2px solid var(--permit); } tr.breach-row td { background: color-mix(in srgb, var(--bad) 22%, transparent); font-weight: 700; }
tr.fault-row td { color: var(--fault); } tr.log-row td { color: var(--text); } tr.call-row td { color: var(--soft); }
#all:not(:checked) ~ table .minor { display: none; }
@media print { .scroll { overflow: visible; } }
"#;

/// Follows the pointer with a line and a time, and repeats a mark's words below the drawing. The page does without.
pub(super) const SCRIPT: &str = r#"
const chart = document.querySelector('.scroll svg'), cross = document.getElementById('cross'), said = document.getElementById('said');
if (chart) {
  const scale = Number(chart.dataset.scale);
  chart.addEventListener('pointermove', (event) => {
    const x = event.clientX - chart.getBoundingClientRect().left;
    cross.setAttribute('x1', x); cross.setAttribute('x2', x); cross.style.visibility = 'visible';
    const mark = event.target.closest('a, rect'), title = mark && mark.querySelector('title');
    said.textContent = (x / scale).toFixed(2) + ' s' + (title ? '   ' + title.textContent : '');
  });
  chart.addEventListener('pointerleave', () => { cross.style.visibility = 'hidden'; said.textContent = ''; });
}
"#;

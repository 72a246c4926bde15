//! The timeline as SVG, and the names beside it.

use quorumfence_machine::Millis;

use super::escaped;
use super::timeline::{Bar, Group, Kind, Lane, Mark, State, Timeline};
use crate::verdict::Broken;

/// What the page shows side by side.
pub(super) struct Drawing {
    /// The lanes' names as HTML, each as high as its lane.
    pub(super) names: String,
    pub(super) svg: String,
}

/// Room for a long run that can still be scrolled, and for a short one that fills a screen.
const PIXELS_MAX: f64 = 12_000.0;
const PIXELS_MIN: f64 = 1000.0;
const PIXELS_A_SECOND: f64 = 11.0;

/// Room for the scale and the broken promise above the lanes, and for the scale again below.
const TOP: f64 = 38.0;
const BOTTOM: f64 = 24.0;
const ROW: f64 = 19.0;

/// Kinds of marks for the legend, in the order of a fence.
pub(super) const LEGEND: [(Kind, &str); 9] = [
    (Kind::Fault, "fault"),
    (Kind::Vote, "vote"),
    (Kind::Decision, "decision or refusal"),
    (Kind::Permit, "permit"),
    (Kind::Off, "off order, sent and taken"),
    (Kind::Power, "power switched by a BMC, or on"),
    (Kind::Proof, "proof, admission"),
    (Kind::Start, "start"),
    (Kind::Other, "other"),
];

/// What bars mean, for the legend.
pub(super) const STATES: [(State, &str); 5] = [
    (State::Running, "controller runs"),
    (State::Power, "host has power"),
    (State::Lost, "lost, says the log"),
    (State::Fencing, "fence decided"),
    (State::Fenced, "fenced"),
];

pub(super) fn draw(timeline: &Timeline, broken: Option<&Broken>) -> Drawing {
    let seconds = seconds(timeline.end).max(1.0);
    let width = (seconds * PIXELS_A_SECOND).clamp(PIXELS_MIN, PIXELS_MAX);
    let pen = Pen { scale: width / seconds };
    let height = TOP + timeline.lanes.iter().map(lane_height).sum::<f64>() + BOTTOM;
    let mut names = format!("<div style=\"height:{TOP}px\"></div>");
    let mut lanes = String::new();
    let (mut y, mut before) = (TOP, None);
    for (number, lane) in timeline.lanes.iter().enumerate() {
        let is_first = before != Some(lane.group)
            && !matches!((before, lane.group), (Some(Group::Host | Group::Bmc), Group::Host | Group::Bmc));
        names += &name(lane, is_first);
        lanes += &stripe(y, lane_height(lane), width, number);
        if is_first {
            lanes += &format!("<line class=\"first\" x1=\"0\" x2=\"{width:.0}\" y1=\"{y}\" y2=\"{y}\"/>");
        }
        lanes += &pen.lane(lane, y);
        before = Some(lane.group);
        y += lane_height(lane);
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"timeline\" width=\"{:.0}\" height=\"{height:.0}\" \
         data-scale=\"{:.4}\">{}{lanes}{}{}<line id=\"cross\" y1=\"0\" y2=\"{height:.0}\"/></svg>",
        width + 60.0,
        pen.scale,
        pen.axis(timeline.end, height),
        pen.orders(timeline),
        pen.lines(timeline, broken, height),
    );
    Drawing { names, svg }
}

/// Returns a mark for the legend.
pub(super) fn sample(kind: Kind) -> String {
    format!("<svg viewBox=\"-7 -7 14 14\"><path class=\"m {}\" d=\"{}\"/></svg>", class(kind), shape(kind))
}

/// Returns a piece of a bar for the legend.
pub(super) fn piece(state: State) -> String {
    format!("<svg viewBox=\"0 0 14 14\"><rect class=\"{}\" y=\"3\" width=\"14\" height=\"9\"/></svg>", bar_class(state))
}

struct Pen {
    scale: f64,
}

impl Pen {
    fn x(&self, at: Millis) -> f64 {
        seconds(at) * self.scale
    }

    fn axis(&self, end: Millis, height: f64) -> String {
        let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];
        let step = step.into_iter().find(|step| f64::from(*step) * self.scale >= 70.0).unwrap_or(7200);
        let ticks = (0..=end.0 / 1000).step_by(usize::try_from(step).unwrap_or(1));
        let tick = |second: u64| {
            let x = self.x(Millis(second * 1000));
            format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.0}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"31\">{second} s</text>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.0}\">{second} s</text>",
                height - BOTTOM,
                x + 3.0,
                x + 3.0,
                height - 8.0
            )
        };
        ticks.map(tick).collect()
    }

    fn lane(&self, lane: &Lane, y: f64) -> String {
        let bars: String = lane.bars.iter().map(|bar| self.bar(lane, bar, y)).collect();
        let marks: String = lane.marks.iter().map(|mark| self.mark(lane, mark, y)).collect();
        bars + &marks
    }

    fn bar(&self, lane: &Lane, bar: &Bar, y: f64) -> String {
        let row = f64::from(u32::try_from(bar.row).unwrap_or(u32::MAX));
        let (top, height) = match lane.group {
            Group::Host if bar.row == 0 => (y + 4.0, 14.0),
            Group::Host => (y + 20.0, 9.0),
            Group::Instance => (y + 3.0 + row * ROW, ROW - 3.0),
            Group::Cluster | Group::Controller | Group::Bmc => (y + 8.0, 9.0),
        };
        let (x, width) = (self.x(bar.from), (self.x(bar.to) - self.x(bar.from)).max(1.0));
        let words =
            escaped(&format!("{} {}{}, {} to {}", lane.name, state_words(bar.state), bar.label, bar.from, bar.to));
        // About seven pixels a letter.
        let fits = width > 14.0 + 7.0 * f64::from(u32::try_from(bar.label.chars().count()).unwrap_or(u32::MAX));
        let label = if bar.label.is_empty() || !fits {
            String::new()
        } else {
            format!("<text class=\"on\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 9.0, top + 12.0, escaped(&bar.label))
        };
        format!(
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"1.5\"><title>{words}</title></rect>{label}",
            bar_class(bar.state)
        )
    }

    fn mark(&self, lane: &Lane, mark: &Mark, y: f64) -> String {
        let is_of_the_log = matches!(mark.kind, Kind::Vote | Kind::Decision | Kind::Permit | Kind::Proof | Kind::Other);
        let middle = match lane.group {
            Group::Host if is_of_the_log => 24.5,
            Group::Host => 11.0,
            Group::Cluster | Group::Controller | Group::Bmc | Group::Instance => 12.0,
        };
        format!(
            "<a href=\"#o{}\"><path class=\"m {}\" transform=\"translate({:.1} {:.1})\" d=\"{}\"><title>{} {}</title></path></a>",
            mark.line,
            class(mark.kind),
            self.x(mark.at),
            y + middle,
            shape(mark.kind),
            mark.at,
            escaped(&mark.words)
        )
    }

    /// Draws off orders from the controller's lane to the BMC's.
    fn orders(&self, timeline: &Timeline) -> String {
        let middle = |wanted: &dyn Fn(&Lane) -> bool| {
            let at = timeline.lanes.iter().position(wanted)?;
            Some(TOP + timeline.lanes[..at].iter().map(lane_height).sum::<f64>() + 12.0)
        };
        let orders = timeline.orders.iter().filter_map(|order| {
            let from = middle(&|lane: &Lane| lane.group == Group::Controller && lane.name == order.from)?;
            let to = middle(&|lane: &Lane| lane.group == Group::Bmc && lane.name == order.to.as_str())?;
            let x = self.x(order.at);
            Some(format!("<line class=\"order\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.0}\" y2=\"{to:.0}\"/>"))
        });
        orders.collect()
    }

    /// Draws what concerns all lanes: the moment of healing, and the broken promise.
    fn lines(&self, timeline: &Timeline, broken: Option<&Broken>, height: f64) -> String {
        let mut lines = String::new();
        let bottom = height - BOTTOM;
        if let Some(at) = timeline.healed {
            let x = self.x(at);
            lines += &format!(
                "<line class=\"healed\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.0}\"><title>{at} everything is healed</title></line>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.0}\">healed</text>",
                x + 4.0,
                bottom + 4.0
            );
        }
        if let Some(Broken { promise, at, why }) = broken {
            let (x, words) = (self.x(*at), escaped(&format!("{promise} is broken at {at}: {why}")));
            // Beside the line, on the side where there is room.
            let (anchor, words_x) = if x > 160.0 { ("end", x - 6.0) } else { ("start", x + 6.0) };
            lines += &format!(
                "<line class=\"breach\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"4\" y2=\"{bottom:.0}\"><title>{words}</title></line>\
                 <text class=\"breach-words\" text-anchor=\"{anchor}\" x=\"{words_x:.1}\" y=\"15\">{} is broken</text>",
                escaped(promise)
            );
        }
        lines
    }
}

fn name(lane: &Lane, is_first: bool) -> String {
    let (class, prefix) = match lane.group {
        Group::Bmc => ("bmc", "BMC of "),
        Group::Cluster | Group::Controller | Group::Host | Group::Instance => ("", ""),
    };
    let first = if is_first { " first" } else { "" };
    let name = escaped(&lane.name);
    format!(
        "<div class=\"{class}{first}\" style=\"height:{}px\" title=\"{name}\">{prefix}{name}</div>",
        lane_height(lane)
    )
}

fn stripe(y: f64, height: f64, width: f64, number: usize) -> String {
    if number % 2 == 1 {
        return String::new();
    }
    format!("<rect class=\"stripe\" x=\"0\" y=\"{y}\" width=\"{:.0}\" height=\"{height}\"/>", width + 60.0)
}

fn lane_height(lane: &Lane) -> f64 {
    match lane.group {
        Group::Host => 34.0,
        Group::Cluster | Group::Controller | Group::Bmc => 24.0,
        Group::Instance => {
            let rows = lane.bars.iter().map(|bar| bar.row + 1).max().unwrap_or(1);
            f64::from(u32::try_from(rows).unwrap_or(u32::MAX)) * ROW + 6.0
        }
    }
}

fn seconds(at: Millis) -> f64 {
    std::time::Duration::from_millis(at.0).as_secs_f64()
}

fn state_words(state: State) -> &'static str {
    match state {
        State::Running => "runs",
        State::Power => "has power",
        State::Lost => "is lost",
        State::Fencing => "is being fenced",
        State::Fenced => "is fenced",
        State::On(_) => "runs on ",
    }
}

/// Hosts that have a colour of their own.
const COLOURS: [&str; 8] = ["on0", "on1", "on2", "on3", "on4", "on5", "on6", "on7"];

fn bar_class(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Power => "power",
        State::Lost => "lost",
        State::Fencing => "fencing",
        State::Fenced => "fenced",
        State::On(host) => COLOURS[host % COLOURS.len()],
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Fault => "fault",
        Kind::Vote => "vote",
        Kind::Decision => "decision",
        Kind::Permit => "permit",
        Kind::Off => "off",
        Kind::Power => "switch",
        Kind::Proof => "proof",
        Kind::Start => "start",
        Kind::Other => "other",
    }
}

fn shape(kind: Kind) -> &'static str {
    match kind {
        Kind::Fault => "M-5-3-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0Z",
        Kind::Vote => "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0Z",
        Kind::Decision => "M0-5.5 5.5 4.5-5.5 4.5Z",
        Kind::Permit => "M0-5.5 5.5 0 0 5.5-5.5 0Z",
        Kind::Off => "M-4.5-4.5H4.5V4.5H-4.5Z",
        Kind::Power => "M-1.5-7H1.5V7H-1.5Z",
        Kind::Proof => "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
        Kind::Start => "M-4-5.5 5.5 0-4 5.5Z",
        Kind::Other => "M-2.5-2.5H2.5V2.5H-2.5Z",
    }
}

//! What one may ask of the demo.

use serde::Serialize;

use crate::config::Profile;

/// Arguments of `demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "As root on Linux the hosts are real: namespaces with libvirtd, QEMU guests and a simulated BMC \
                        each. It exits with 0 only if the promises held, judged by what the guests wrote themselves."
)]
pub struct Args {
    /// What goes wrong.
    #[arg(long, value_enum, default_value_t = Lesson::PowerCut)]
    pub(super) lesson: Lesson,
    /// Simulate the hosts inside this process instead of in namespaces. It needs no root.
    #[arg(long)]
    pub(super) embedded: bool,
    /// Timing of consensus, heartbeats and checks.
    #[arg(long, value_enum, default_value_t = Profile::Fast)]
    pub(super) profile: Profile,
    /// Keep the cluster running after the verdict, until Ctrl-C.
    #[arg(long)]
    pub(super) hold: bool,
    /// Print the timeline and the verdict for programs; the words for people go to standard error.
    #[arg(long)]
    pub(super) json: bool,
}

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Lesson {
    /// A host loses its power: it is found off, and its guests start elsewhere.
    PowerCut,
    /// A host lives but is cut off: it is off before anything starts elsewhere.
    Partition,
    /// A host and its BMC lose their power: nothing moves until a person vouches for it.
    BmcDead,
    /// The leader is killed between the decision and the power-off: one fence, one start.
    LeaderDies,
}

impl Lesson {
    /// Returns what the run is about to show.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::PowerCut => "power-cut: a host loses its power; its guests run elsewhere once it was read off twice",
            Self::Partition => "partition: a host lives but is cut off; it is off before anything starts elsewhere",
            Self::BmcDead => "bmc-dead: a host and its BMC lose their power; nothing moves until a person vouches",
            Self::LeaderDies => {
                "leader-dies: the leader is killed between decision and power-off; one fence, one start"
            }
        }
    }
}

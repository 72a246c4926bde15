//! Controllers as the command line shows them.

use quorumfence_proto::pb;
use serde::Serialize;

use super::super::output::{Printed, table};
use super::dash;

/// One controller.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct MemberView {
    pub(in super::super) id: u64,
    name: String,
    address: String,
    role: &'static str,
    leader: bool,
    /// The last entry that the leader knows to be there.
    matched: Option<u64>,
}

impl Printed for MemberView {
    const KIND: &'static str = "Member";
}

impl From<pb::Member> for MemberView {
    fn from(member: pb::Member) -> Self {
        let role = match member.role() {
            pb::MemberRole::Voter => "voter",
            pb::MemberRole::Learner => "learner",
            pb::MemberRole::Outside => "outside",
            pb::MemberRole::Unspecified => "unknown",
        };
        let peer = member.peer.unwrap_or_default();
        Self {
            id: peer.id,
            name: format!("controller-{}", peer.id),
            address: peer.address,
            role,
            leader: member.leader,
            matched: member.matched,
        }
    }
}

/// Returns controllers as a table.
pub(in super::super) fn member_table(members: &[MemberView]) -> String {
    let row = |member: &MemberView| {
        vec![
            member.name.clone(),
            member.address.clone(),
            member.role.to_string(),
            if member.leader { "yes" } else { "-" }.to_string(),
            dash(member.matched.map(|index| format!("#{index}"))),
        ]
    };
    table(
        &["CONTROLLER", "ADDRESS", "ROLE", "LEADER", "LOG"],
        members.iter().map(row).collect(),
        "No controller is known.",
    )
}

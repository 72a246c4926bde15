//! Promise S1, judged from what the guests wrote: an instance never runs on two hosts at once.

use std::time::Duration;

use super::guests::GuestRun;

/// A last line may be seen this much later than it was written; runs that overlap by less are not convicted.
const SLACK: Duration = Duration::from_millis(50);

/// Returns the first two runs of one instance that lived at the same time.
///
/// A run lives from QEMU's start (from its first line, where the start was not seen) to its latest line.
pub fn two_at_once(runs: &[GuestRun]) -> Option<(&GuestRun, &GuestRun)> {
    let began = |run: &GuestRun| run.qemu_at.unwrap_or(run.first_at).min(run.first_at);
    runs.iter().enumerate().find_map(|(at, one)| {
        let other = runs[at + 1..].iter().find(|other| {
            let later = began(one).max(began(other));
            let ended = one.last_at.min(other.last_at);
            later + SLACK < ended
        })?;
        Some((one, other))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Builds runs from milliseconds: QEMU's start, first line, last line.
    fn check(spans: &[(Option<u64>, u64, u64)], convicted: Option<(usize, usize)>) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let runs: Vec<GuestRun> = spans
            .iter()
            .enumerate()
            .map(|(number, (qemu, first, last))| GuestRun {
                host: format!("host{}", number + 1).parse().expect("a name"),
                run: number.to_string(),
                qemu_at: qemu.map(at),
                first_at: at(*first),
                last_at: at(*last),
            })
            .collect();
        assert_eq!(two_at_once(&runs), convicted.map(|(one, other)| (&runs[one], &runs[other])), "{spans:?}");
    }

    #[test]
    fn runs_one_after_the_other_are_innocent() {
        check(&[], None);
        check(&[(Some(0), 2000, 9000)], None);
        check(&[(Some(0), 2000, 9000), (Some(9100), 11_000, 20_000), (None, 20_100, 30_000)], None);
        check(&[(Some(0), 2000, 9000), (Some(8960), 11_000, 20_000)], None);
    }

    #[test]
    fn two_runs_at_once_are_convicted() {
        check(&[(Some(0), 2000, 9000), (Some(7000), 8000, 20_000)], Some((0, 1)));
        check(&[(Some(0), 2000, 9000), (None, 8000, 8200)], Some((0, 1)));
        check(&[(Some(0), 2000, 3000), (Some(4000), 6000, 9000), (Some(5000), 7000, 8000)], Some((1, 2)));
    }

    #[test]
    fn a_run_whose_qemu_started_before_the_other_ended_is_convicted_although_no_lines_interleave() {
        check(&[(Some(0), 2000, 9000), (Some(8000), 10_000, 20_000)], Some((0, 1)));
    }
}

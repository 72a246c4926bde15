//! The bookkeeping against a plain model: two vectors, and the changes between them.

use super::*;
use crate::chance::Chance;

/// What readers see, what the platter has, and what is between.
#[derive(Default)]
struct Model {
    view: Vec<u8>,
    platter: Vec<u8>,
    waiting: Vec<ModelChange>,
}

#[derive(Clone)]
enum ModelChange {
    Write { at: usize, data: Vec<u8> },
    Shorten { length: usize },
}

impl ModelChange {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => {
                image.resize(image.len().max(at + data.len()), 0);
                image[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Shorten { length } => image.truncate(*length),
        }
    }
}

impl Model {
    fn change(&mut self, change: ModelChange) {
        change.apply(&mut self.view);
        self.waiting.push(change);
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        // The gap behind the end is part of what is written.
        let from = at.min(self.view.len());
        let data = [vec![0; at - from], data.to_vec()].concat();
        self.change(ModelChange::Write { at: from, data });
    }

    fn set_length(&mut self, length: usize) {
        let before = self.view.len();
        if length < before {
            self.change(ModelChange::Shorten { length });
        } else if length > before {
            self.change(ModelChange::Write { at: before, data: vec![0; length - before] });
        }
    }

    fn commit(&mut self, count: usize) {
        for change in self.waiting.drain(..count) {
            change.apply(&mut self.platter);
        }
    }

    fn cut(&mut self, kept: usize, torn: usize) {
        self.commit(kept);
        if let Some(ModelChange::Write { at, data }) = self.waiting.first() {
            let data = data[..torn.min(data.len())].to_vec();
            if !data.is_empty() {
                ModelChange::Write { at: *at, data }.apply(&mut self.platter);
            }
        }
        self.waiting.clear();
        self.view = self.platter.clone();
    }
}

fn run(seed: u64) {
    let mut chance = Chance::new(seed, "pages");
    let mut draw = |bound: usize| usize::try_from(chance.below(u64::try_from(bound).unwrap())).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("file");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let (mut pages, mut model) = (Pages::new(file, 7), Model::default());
    for step in 0..60_u8 {
        match draw(10) {
            0..=4 => {
                let (at, data) = (draw(40), vec![step + 1; draw(12) + 1]);
                pages.write(u64::try_from(at).unwrap(), &data).unwrap();
                model.write(at, &data);
            }
            5 | 6 => {
                let length = draw(50);
                pages.set_length(u64::try_from(length).unwrap()).unwrap();
                model.set_length(length);
            }
            7 => {
                let count = draw(model.waiting.len() + 1);
                pages.commit(pages.newest() - u64::try_from(model.waiting.len() - count).unwrap());
                model.commit(count);
            }
            8 => {
                pages.lose();
                model.waiting.clear();
            }
            _ => {
                let (kept, torn) = (draw(model.waiting.len() + 1), draw(8));
                pages.cut(kept, torn).unwrap();
                model.cut(kept, torn);
                assert!(pages.is_clean() && pages.bytes() == 0);
            }
        }
        assert_eq!(pages.len(), model.waiting.len(), "seed {seed}, step {step}");
        assert_eq!(std::fs::read(&path).unwrap(), model.view, "seed {seed}, step {step}");
    }
    pages.cut(0, 0).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), model.platter, "seed {seed}, the platter");
}

#[test]
fn files_are_as_the_model_says_after_any_changes_syncs_failures_and_cuts() {
    for seed in 0..300 {
        run(seed);
    }
}

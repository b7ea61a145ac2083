//! The tour's text: `#` begins a step and says what it shows, `$` is a line for a shell, `~` one that reads what is
//! written a moment later, and each `>` after it is something that the line's output contains.

use super::{Line, Scene, Step};

const TEXT: &str = include_str!("tour.txt");

/// The whole tour, speaking of this scene.
pub(super) fn steps(scene: &Scene) -> Vec<Step> {
    read(&scene.words.iter().fold(TEXT.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value)))
}

fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let Some((mark, rest)) = line.split_once(' ') else { continue };
        match (mark, steps.last_mut()) {
            ("#", _) => steps.push(Step { title: rest.to_owned(), lines: Vec::new() }),
            ("$" | "~", Some(step)) => {
                step.lines.push(Line { command: rest.to_owned(), expects: Vec::new(), settles: mark == "~" });
            }
            (">", Some(step)) => step.lines.last_mut().into_iter().for_each(|line| line.expects.push(rest.to_owned())),
            _ => unreachable!("tour.txt holds nothing but #, $, ~ and >: {line}"),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_line_and_every_line_is_judged() {
        let steps = read(TEXT);
        assert!(steps.len() > 10);
        assert!(steps.iter().all(|step| !step.lines.is_empty()));
        assert!(steps.iter().flat_map(|step| &step.lines).all(|line| !line.expects.is_empty()));
    }
}

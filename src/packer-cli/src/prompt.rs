//! What a build asks: after a failure with `-on-error=ask`, between steps with `-debug`, and at a breakpoint. The texts and
//! what the answers mean; asking itself is the caller's ([`crate::ui::Ui::ask`] renders a question).

/// What to do about a step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAnswer {
    /// Clean up and end. Also what is meant where nobody can be asked.
    Cleanup,
    /// End and leave all as it is.
    Abort,
    /// Run the failed step once more.
    Retry,
}

/// The answers to a question about a failure, with the letter that each begins with.
pub const FAILURE_ANSWERS: [(char, FailureAnswer); 3] =
    [('c', FailureAnswer::Cleanup), ('a', FailureAnswer::Abort), ('r', FailureAnswer::Retry)];

/// Where a build with `-debug` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// A step has run.
    AfterRun,
    /// A step is about to be cleaned up.
    BeforeCleanup,
}

/// Something to ask: first what is said, then the question, which the answer follows on the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is said before, as a message of the build.
    pub said: Option<String>,
    /// The question.
    pub text: String,
}

/// Asked when a step has failed and `-on-error=ask` was given; [`failure_answer`] reads the answer.
#[must_use]
pub fn failure(step: &str) -> Question {
    Question {
        said: Some(format!("Step {step:?} failed")),
        text: "[c] Clean up and exit, [a] abort without cleanup, or [r] retry step (build may fail even if retry succeeds)?"
            .to_owned(),
    }
}

/// Reads an answer: its first letter counts, in either case, and an empty line is `c`.
///
/// # Errors
/// If it is none of [`FAILURE_ANSWERS`]: what to say before the question is asked again.
pub fn failure_answer(line: &str) -> Result<FailureAnswer, String> {
    let line = line.trim();
    let Some(letter) = line.chars().next() else { return Ok(FailureAnswer::Cleanup) };
    FAILURE_ANSWERS
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&letter))
        .map(|(_, answer)| answer)
        .ok_or_else(|| format!("Incorrect input: {line:?}"))
}

/// What is said with `-on-error=abort` when a step has failed.
#[must_use]
pub fn aborting(step: &str) -> String {
    format!("Step {step:?} failed, aborting...")
}

/// Asked with `-debug` after each step and before each is cleaned up; any line goes on.
#[must_use]
pub fn debug_step(step: &str, pause: Pause) -> Question {
    let place = match pause {
        Pause::AfterRun => "after run of",
        Pause::BeforeCleanup => "before cleanup of",
    };
    Question { said: None, text: format!("Pausing {place} step '{step}'. Press enter to continue.") }
}

/// Asked with `-debug` before each provisioner; any line goes on.
#[must_use]
pub fn debug_provisioner(kind: &str) -> Question {
    Question {
        said: None,
        text: format!("Pausing before the next provisioner, {kind}. Press enter to continue."),
    }
}

/// Asked by the `breakpoint` provisioner; any line goes on.
#[must_use]
pub fn breakpoint(note: &str) -> Question {
    let said = match note {
        "" => "Pausing at breakpoint provisioner.".to_owned(),
        note => format!("Pausing at breakpoint provisioner with note \"{note}\"."),
    };
    Question { said: Some(said), text: "Press enter to continue.".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_packers() {
        let question = failure("StepProvision");
        assert_eq!(question.said.as_deref(), Some("Step \"StepProvision\" failed"));
        assert_eq!(
            question.text,
            "[c] Clean up and exit, [a] abort without cleanup, or [r] retry step (build may fail even if retry succeeds)?"
        );
        assert_eq!(aborting("StepProvision"), "Step \"StepProvision\" failed, aborting...");
        let text = "Pausing after run of step 'StepConnect'. Press enter to continue.";
        assert_eq!(debug_step("StepConnect", Pause::AfterRun).text, text);
        let text = "Pausing before cleanup of step 'StepConnect'. Press enter to continue.";
        assert_eq!(debug_step("StepConnect", Pause::BeforeCleanup).text, text);
        assert_eq!(
            debug_provisioner("shell").text,
            "Pausing before the next provisioner, shell. Press enter to continue."
        );
        let look = breakpoint("look");
        assert_eq!(look.said.as_deref(), Some("Pausing at breakpoint provisioner with note \"look\"."));
        assert_eq!(look.text, "Press enter to continue.");
        assert_eq!(breakpoint("").said.as_deref(), Some("Pausing at breakpoint provisioner."));
    }

    #[test]
    fn the_first_letter_answers() {
        for (line, answer) in [
            ("c", FailureAnswer::Cleanup),
            ("", FailureAnswer::Cleanup),
            ("  \n", FailureAnswer::Cleanup),
            ("A\n", FailureAnswer::Abort),
            ("abort", FailureAnswer::Abort),
            ("r", FailureAnswer::Retry),
            ("Retry please", FailureAnswer::Retry),
        ] {
            assert_eq!(failure_answer(line), Ok(answer), "{line}");
        }
        assert_eq!(failure_answer("x\n"), Err("Incorrect input: \"x\"".to_owned()));
        assert_eq!(failure_answer("ä"), Err("Incorrect input: \"ä\"".to_owned()));
    }
}

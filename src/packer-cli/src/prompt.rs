//! What a build asks: after a failure with `-on-error=ask`, and with `-debug` between steps. The texts and what the answers
//! mean; asking itself is the caller's ([`crate::ui::Ui::ask`] renders a question).

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

/// Asked with `-debug` after a step; any line goes on.
#[must_use]
pub fn debug_step(step: &str) -> Question {
    Question { said: None, text: format!("Pausing after run of step '{step}'. Press enter to continue.") }
}

/// Asked with `-debug` before each provisioner; any line goes on.
#[must_use]
pub fn debug_provisioner(kind: &str) -> Question {
    Question {
        said: None,
        text: format!("Pausing before the next provisioner, {kind}. Press enter to continue."),
    }
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
        assert_eq!(debug_step("StepConnect").text, text);
        assert_eq!(
            debug_provisioner("shell").text,
            "Pausing before the next provisioner, shell. Press enter to continue."
        );
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

use std::collections::BTreeMap;

use vlm_core::Error;

use super::{History, LogitsProcessor};

/// Limits an answer to given choices, each a row of token ids: constrained decoding by a trie.
///
/// Transformers reaches the same with `prefix_allowed_tokens_fn`.
///
/// ```
/// use vlm_text::{Choices, History, LogitsProcessor};
/// // "yes" is token 3, "no way" tokens 1 and 2; token 0 ends an answer.
/// let choices = Choices::new(&[vec![3], vec![1, 2]], &[0]).unwrap();
/// let allowed = |generated: &[u32]| {
///     let mut scores = [0.0; 5];
///     choices.process(&mut scores, History { ids: generated, prompt: 0 });
///     scores.map(f32::is_finite)
/// };
/// assert_eq!(allowed(&[]), [false, true, false, true, false]);
/// assert_eq!(allowed(&[1]), [false, false, true, false, false]);
/// assert_eq!(allowed(&[3]), [true, false, false, false, false]);
/// ```
#[derive(Clone, Debug)]
pub struct Choices {
    nodes: Vec<Node>,
    eos_token_ids: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    next: BTreeMap<u32, usize>,
    // Whether a choice ends here.
    end: bool,
}

impl Choices {
    /// A trie of the choices; one of `eos_token_ids` follows a whole choice.
    ///
    /// # Errors
    ///
    /// When there is no choice, one is empty, or nothing would end an answer.
    pub fn new(choices: &[Vec<u32>], eos_token_ids: &[u32]) -> Result<Self, Error> {
        let unusable = |message: &str| Err(Error::Request(message.to_owned()));
        if choices.is_empty() || choices.iter().any(Vec::is_empty) {
            return unusable("choices: expected one or more, each with a token");
        }
        if eos_token_ids.is_empty() {
            return unusable("choices: expected an end-of-sequence token, the model names none");
        }
        let mut nodes = vec![Node::default()];
        for choice in choices {
            let mut at = 0;
            for token in choice {
                let fresh = nodes.len();
                let next = *nodes[at].next.entry(*token).or_insert(fresh);
                if next == fresh {
                    nodes.push(Node::default());
                }
                at = next;
            }
            nodes[at].end = true;
        }
        Ok(Self {
            nodes,
            eos_token_ids: eos_token_ids.to_vec(),
        })
    }
}

impl LogitsProcessor for Choices {
    fn process(&self, scores: &mut [f32], history: History<'_>) {
        let step = |at: usize, token: &u32| self.nodes[at].next.get(token).copied();
        let node = history.generated().iter().try_fold(0, step);
        let node = node.map(|at| &self.nodes[at]);
        let allowed = |token: u32| match node {
            None => false,
            Some(node) => {
                node.next.contains_key(&token) || node.end && self.eos_token_ids.contains(&token)
            }
        };
        for (token, score) in scores.iter_mut().enumerate() {
            if !allowed(token as u32) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

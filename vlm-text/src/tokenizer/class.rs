use serde_json::{Value, json};
use vlm_core::Error;

use super::files::Files;
use crate::DecoderKind;

/// How transformers 5.23 makes the tokenizer of a language model's folder.
///
/// Most are `tokenizer.json` as it stands. Three classes take no more than vocabulary, merges and
/// post-processor from it and build the rest anew, so a file that differs from its class is read as the class
/// has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `TokenizersBackend`, `PreTrainedTokenizerFast`.
    AsItStands,
    /// `LlamaTokenizer`: spaces as `▁` without a normaliser, bytes as fallback.
    Llama,
    /// `GPT2Tokenizer`: byte-level, GPT-2's split, no normaliser.
    Gpt2,
    /// `Qwen2Tokenizer`: byte-level, Qwen2's split, NFC.
    Qwen2,
}

/// Qwen2's split of a text into words.
const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Class {
    /// The class of a decoder's folder, whose `config.json` names `in_config`; `byte_level` says whether its
    /// `tokenizer.json` is.
    pub fn of(
        kind: DecoderKind,
        files: &Files,
        in_config: Option<&str>,
        byte_level: bool,
    ) -> Result<Self, Error> {
        let name = files.text("tokenizer_class").or(in_config);
        match (kind, name.map(|name| name.trim_end_matches("Fast"))) {
            // Its own class, whatever a file says.
            (DecoderKind::Qwen2, _) => Ok(Self::Qwen2),
            (DecoderKind::Llama, Some("LlamaTokenizer")) if byte_level => Ok(Self::AsItStands),
            (DecoderKind::Llama, Some("LlamaTokenizer")) => Ok(Self::Llama),
            (DecoderKind::Llama, Some("GPT2Tokenizer")) => Ok(Self::Gpt2),
            (DecoderKind::Llama, Some("Qwen2Tokenizer")) => Ok(Self::Qwen2),
            (
                DecoderKind::Llama,
                None | Some("PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend"),
            ) => Ok(Self::AsItStands),
            (DecoderKind::Llama, Some(other)) => Err(files.error(
                "tokenizer_class",
                format!(
                    "expected LlamaTokenizer, GPT2Tokenizer, Qwen2Tokenizer or PreTrainedTokenizerFast, \
                     found `{other}`"
                ),
            )),
            _ => Ok(Self::AsItStands),
        }
    }

    /// Names the tokens that the class has where no file names one.
    pub fn name_defaults(self, files: &mut Files) {
        let names: &[(&str, &str)] = match self {
            Self::AsItStands => &[],
            Self::Llama => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
            ],
            Self::Gpt2 => &[
                ("unk_token", "<|endoftext|>"),
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
            ],
            Self::Qwen2 => &[
                ("unk_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
        };
        for (name, token) in names {
            files.default(name, token);
        }
    }

    /// A `tokenizer.json` as the class builds it, without added tokens.
    pub fn rebuild(self, mut file: Value, files: &Files) -> Result<Value, Error> {
        let space = files.flag("add_prefix_space")?;
        let legacy = files.flag("legacy")?.unwrap_or(false);
        let kind = &file["model"]["type"];
        if kind != "BPE" && !(kind.is_null() && file["model"]["merges"].is_array()) {
            let message = format!("this class needs a BPE in tokenizer.json, found {kind}");
            return Err(files.error("tokenizer_class", message));
        }
        let llama = self == Self::Llama;
        file["model"] = json!({
            "type": "BPE",
            "vocab": file["model"]["vocab"].take(),
            "merges": file["model"]["merges"].take(),
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": llama,
            "byte_fallback": llama,
            "ignore_merges": false,
        });
        let byte_level = |add_prefix_space: bool, use_regex: bool| {
            json!({
                "type": "ByteLevel",
                "add_prefix_space": add_prefix_space,
                "trim_offsets": true,
                "use_regex": use_regex,
            })
        };
        let (normalizer, pre_tokenizer, decoder) = match self {
            Self::AsItStands => return Ok(file),
            Self::Llama => {
                let space = space.unwrap_or(true);
                let scheme = match (space, legacy) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                let mut steps = vec![
                    json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
                    json!({ "type": "ByteFallback" }),
                    json!({ "type": "Fuse" }),
                ];
                if space {
                    steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
                }
                let metaspace = json!({
                    "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false,
                });
                let decoder = json!({ "type": "Sequence", "decoders": steps });
                (Value::Null, metaspace, decoder)
            }
            Self::Gpt2 => {
                let bytes = byte_level(space.unwrap_or(false), true);
                (Value::Null, bytes, byte_level(true, true))
            }
            Self::Qwen2 => {
                let split = json!({
                    "type": "Split", "pattern": { "Regex": QWEN2_SPLIT }, "behavior": "Isolated", "invert": false,
                });
                let bytes = byte_level(space.unwrap_or(false), false);
                let words = json!({ "type": "Sequence", "pretokenizers": [split, bytes] });
                (json!({ "type": "NFC" }), words, byte_level(true, true))
            }
        };
        file["normalizer"] = normalizer;
        file["pre_tokenizer"] = pre_tokenizer;
        file["decoder"] = decoder;
        file["added_tokens"] = json!([]);
        Ok(file)
    }
}

use std::{fmt::Write, path::Path};

use vlm_core::Error;

/// What the README.md of a trained model tells.
#[derive(Clone, Debug, Default)]
pub struct ModelCard {
    /// The model that was trained: its folder or its id on the hub.
    pub base: String,
    /// Whether the folder holds an adapter.
    pub adapter: bool,
    /// Names and values of what decided how the run went.
    pub settings: Vec<(String, String)>,
    /// Results: names and values.
    pub results: Vec<(String, String)>,
}

impl ModelCard {
    /// Writes README.md into a folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("README.md");
        std::fs::write(&path, self.render()).map_err(Error::io(&path))
    }

    fn render(&self) -> String {
        let library = if self.adapter { "peft" } else { "transformers" };
        let relation = if self.adapter { "adapter" } else { "finetune" };
        let mut text = format!("---\nlibrary_name: {library}\npipeline_tag: image-text-to-text\n");
        // The hub knows ids, not folders of somebody's machine.
        if self.base.split('/').count() == 2 && !self.base.starts_with(['.', '/', '~']) {
            let base = &self.base;
            text += &format!("base_model: {base}\nbase_model_relation: {relation}\n");
        }
        let what = if self.adapter {
            "A LoRA adapter for"
        } else {
            "A fine-tune of"
        };
        text += &format!(
            "tags:\n- vision-language\n---\n\n# {what} `{}`\n",
            self.base
        );
        text += match self.adapter {
            true => {
                "\nThe folder is in PEFT's layout:\n\n```python\nfrom peft import PeftModel\n\n\
                     model = PeftModel.from_pretrained(base_model, \"path/to/this/folder\")\n```\n"
            }
            false => {
                "\nThe folder is a whole checkpoint:\n\n```python\n\
                      from transformers import AutoModelForImageTextToText, AutoProcessor\n\n\
                      model = AutoModelForImageTextToText.from_pretrained(\"path/to/this/folder\")\n\
                      processor = AutoProcessor.from_pretrained(\"path/to/this/folder\")\n```\n"
            }
        };
        for (title, rows) in [("Training", &self.settings), ("Results", &self.results)] {
            if rows.is_empty() {
                continue;
            }
            let _ = write!(text, "\n## {title}\n\n| | |\n|---|---|\n");
            for (name, value) in rows {
                let _ = writeln!(text, "| {name} | {value} |");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_names_the_base_where_the_hub_knows_it() {
        let card = |base: &str, adapter| {
            let settings = vec![("steps".to_owned(), "6".to_owned())];
            let base = base.to_owned();
            ModelCard {
                base,
                adapter,
                settings,
                ..ModelCard::default()
            }
            .render()
        };
        let known = card("llava-hf/llava-1.5-7b-hf", true);
        assert!(
            known
                .contains("\nbase_model: llava-hf/llava-1.5-7b-hf\nbase_model_relation: adapter\n")
        );
        assert!(known.contains("| steps | 6 |") && !known.contains("Results"));
        let folder = card("/models/llava", false);
        assert!(!folder.contains("base_model:") && folder.contains("library_name: transformers"));
    }
}

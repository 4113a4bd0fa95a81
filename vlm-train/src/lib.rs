//! Supervised fine-tuning of vision-language models.

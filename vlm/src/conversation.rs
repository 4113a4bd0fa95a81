use vlm_chat_template::Message;

/// What a model is asked.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// One question about all the pictures, put into the checkpoint's chat template; where it has none, into
    /// the form that the family is usually asked in.
    Question(String),
    /// A text that is used as it is: templated already, with a placeholder for each picture.
    Text(String),
    /// A conversation for the checkpoint's chat template, which the model continues.
    Messages(Vec<Message>),
}

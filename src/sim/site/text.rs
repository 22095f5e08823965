//! A configuration file in the making: sections whose keys can be changed before it is written. Separate from the
//! configuration's own types because a test must be able to write what they refuse.

use std::fmt;

use toml::Value;

/// Sections in file order, each with its keys.
#[derive(Clone, Debug, Default)]
pub struct Text {
    sections: Vec<(String, Vec<(String, Value)>)>,
}

impl Text {
    /// Sets a key in the last section with that head, such as `[dns]` or `[[https]]`, which is made if there is none. The
    /// head of what stands above all sections is empty.
    pub fn set(&mut self, head: &str, key: &str, value: impl Into<Value>) -> &mut Self {
        if !self.sections.iter().any(|(name, _)| name == head) {
            self.push(head);
        }
        let section = self.sections.iter_mut().rev().find(|(name, _)| name == head).expect("made above");
        section.1.retain(|(name, _)| name != key);
        section.1.push((key.to_owned(), value.into()));
        self
    }

    /// Removes a key from all sections with that head.
    pub fn remove(&mut self, head: &str, key: &str) -> &mut Self {
        let sections = self.sections.iter_mut().filter(|(name, _)| name == head);
        sections.for_each(|(_, keys)| keys.retain(|(name, _)| name != key));
        self
    }

    /// Removes all sections with that head.
    pub fn remove_section(&mut self, head: &str) -> &mut Self {
        self.sections.retain(|(name, _)| name != head);
        self
    }

    /// Begins another section at the end, such as one more `[[https]]`.
    pub fn push(&mut self, head: &str) -> &mut Self {
        let section = (head.to_owned(), Vec::new());
        if head.is_empty() {
            self.sections.insert(0, section)
        } else {
            self.sections.push(section)
        }
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (head, keys) in &self.sections {
            if !head.is_empty() {
                writeln!(out, "\n{head}")?;
            }
            for (key, value) in keys {
                writeln!(out, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn keys_go_to_the_last_section_of_that_head() {
        let mut text = Text::default();
        text.set("[[a]]", "x", 1).push("[[a]]").set("[[a]]", "x", "two").set("", "top", vec!["p".to_owned()]);
        text.set("[[a]]", "x", "three");
        assert_eq!(text.to_string(), "top = [\"p\"]\n\n[[a]]\nx = 1\n\n[[a]]\nx = \"three\"\n");
    }
}

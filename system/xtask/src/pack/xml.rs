//! Elements and attributes of a `.system` file, and where they stand.

use super::error::{Error, Result};
use roxmltree::{Document, Node, TextPos};
use std::fmt;
use std::path::Path;

/// A parsed file.
pub(super) struct Xml<'a> {
    file: &'a Path,
    document: &'a Document<'a>,
}

impl<'a> Xml<'a> {
    pub(super) fn new(file: &'a Path, document: &'a Document<'a>) -> Self {
        Self { file, document }
    }

    /// The outermost element, which must be `system`.
    pub(super) fn system(&self) -> Result<Node<'a, 'a>> {
        let root = self.document.root_element();
        if root.tag_name().name() != "system" {
            let name = root.tag_name().name();
            return Err(self.error(root, format!("found <{name}>, expected <system>")));
        }
        self.no_text(root)?;
        Ok(root)
    }

    /// Where `node` starts.
    pub(super) fn place(&self, node: Node<'_, '_>) -> TextPos {
        self.document.text_pos_at(node.range().start)
    }

    /// An error about `node`.
    pub(super) fn error(&self, node: Node<'_, '_>, text: impl fmt::Display) -> Error {
        self.error_at(self.place(node), text)
    }

    /// An error about what starts at `place`.
    pub(super) fn error_at(&self, place: TextPos, text: impl fmt::Display) -> Error {
        Error::new(format!(
            "{}:{}:{}: {text}",
            self.file.display(),
            place.row,
            place.col
        ))
    }

    /// The elements in `node`.
    pub(super) fn children(node: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
        node.children().filter(Node::is_element)
    }

    /// An error about the element `child`, which cannot be in `parent`.
    pub(super) fn unexpected(
        &self,
        parent: Node<'_, '_>,
        child: Node<'_, '_>,
        known: &str,
    ) -> Error {
        let (parent, name) = (parent.tag_name().name(), child.tag_name().name());
        self.error(
            child,
            format!("found <{name}> in <{parent}>, expected {known}"),
        )
    }

    /// Holds the attributes of `node` against those it may have.
    pub(super) fn attributes(&self, node: Node<'_, '_>, known: &[&str]) -> Result<()> {
        for attribute in node.attributes() {
            if !known.contains(&attribute.name()) {
                let place = self.document.text_pos_at(attribute.range().start);
                let (name, element) = (attribute.name(), node.tag_name().name());
                let expected = if known.is_empty() {
                    "none".to_owned()
                } else {
                    format!("only {}", known.join(", "))
                };
                let text =
                    format!("found the attribute {name} on <{element}>, expected {expected}");
                return Err(self.error_at(place, text));
            }
        }
        Ok(())
    }

    /// The value of an attribute that `node` must have.
    pub(super) fn required(&self, node: Node<'a, 'a>, name: &str) -> Result<&'a str> {
        node.attribute(name).ok_or_else(|| {
            let element = node.tag_name().name();
            self.error(
                node,
                format!("found <{element}> without {name}, expected {name}=\"…\""),
            )
        })
    }

    /// The number of an attribute, if `node` has it: decimal or hexadecimal, with `_` anywhere.
    pub(super) fn number(&self, node: Node<'_, '_>, name: &str) -> Result<Option<u64>> {
        let Some(text) = node.attribute(name) else {
            return Ok(None);
        };
        let digits = text.replace('_', "");
        let number = match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        number.map(Some).map_err(|_| {
            let expected = "a decimal number, or a hexadecimal one after 0x";
            self.error(
                node,
                format!("found {name}=\"{text}\", expected {expected}"),
            )
        })
    }

    /// The number of an attribute that `node` must have.
    pub(super) fn required_number(&self, node: Node<'a, 'a>, name: &str) -> Result<u64> {
        self.required(node, name)?;
        Ok(self.number(node, name)?.unwrap_or(0))
    }

    /// The number of an attribute that `node` must have and that is at most `most`.
    pub(super) fn limited(&self, node: Node<'a, 'a>, name: &str, most: u32) -> Result<u32> {
        let number = self.required_number(node, name)?;
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| {
                self.error(
                    node,
                    format!("found {name}=\"{number}\", expected at most {most}"),
                )
            })
    }

    /// The truth value of an attribute; `default` if `node` does not have it.
    pub(super) fn boolean(&self, node: Node<'_, '_>, name: &str, default: bool) -> Result<bool> {
        match node.attribute(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(text) => Err(self.error(
                node,
                format!("found {name}=\"{text}\", expected true or false"),
            )),
        }
    }

    fn no_text(&self, node: Node<'_, '_>) -> Result<()> {
        for child in node.children() {
            let text = child
                .text()
                .filter(|_| child.is_text())
                .unwrap_or_default()
                .trim();
            if !text.is_empty() {
                return Err(self.error(
                    child,
                    format!("found the text \"{text}\", expected elements only"),
                ));
            }
            self.no_text(child)?;
        }
        Ok(())
    }
}

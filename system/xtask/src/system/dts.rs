//! Reads device tree sources: as much of the language as the files in `dts/` use.
//!
//! Nodes with labels, properties with texts, cells and references to labels; no expressions, no includes.

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Name with its unit address; empty for the root.
    pub(super) name: String,
    /// Label.
    pub(super) label: Option<String>,
    /// Properties, in the file's order.
    pub(super) properties: Vec<Property>,
    /// Children, in the file's order.
    pub(super) children: Vec<Node>,
}

/// A property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    /// Name.
    pub(super) name: String,
    /// Its values, one after the other.
    pub(super) values: Vec<Value>,
}

/// A part of a property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text, to which a NUL is added.
    Text(String),
    /// A 32-bit cell.
    Cell(u32),
    /// The phandle of the node with this label.
    Reference(String),
}

impl Node {
    /// The node with `label`: this one or below.
    pub(super) fn labelled(&self, label: &str) -> Option<&Node> {
        if self.label.as_deref() == Some(label) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.labelled(label))
    }

    /// The child called `name`.
    pub(super) fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The cells of `property`; none if it is missing.
    pub(super) fn cells(&self, property: &str) -> Vec<u32> {
        let values = self.values(property).iter();
        values
            .filter_map(|value| match value {
                Value::Cell(cell) => Some(*cell),
                _ => None,
            })
            .collect()
    }

    /// The first text of `property`.
    pub(super) fn text(&self, property: &str) -> Option<&str> {
        self.texts(property).next()
    }

    /// The texts of `property`; none if it is missing.
    pub(super) fn texts(&self, property: &str) -> impl Iterator<Item = &str> {
        let values = self.values(property).iter();
        values.filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Addresses and sizes of `reg`, of two cells each.
    pub(super) fn reg(&self) -> Vec<(u64, u64)> {
        let cells = self.cells("reg");
        let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let (entries, _) = cells.as_chunks();
        entries
            .iter()
            .map(|&[a, b, c, d]| (wide(a, b), wide(c, d)))
            .collect()
    }

    /// The property called `name`, added if it is missing.
    pub(super) fn set(&mut self, name: &str, values: Vec<Value>) {
        match self
            .properties
            .iter_mut()
            .find(|property| property.name == name)
        {
            Some(property) => property.values = values,
            None => self.properties.push(Property {
                name: name.to_owned(),
                values,
            }),
        }
    }

    fn values(&self, name: &str) -> &[Value] {
        let property = self
            .properties
            .iter()
            .find(|property| property.name == name);
        property
            .map(|property| property.values.as_slice())
            .unwrap_or_default()
    }
}

/// The two cells of a 64-bit number.
pub(super) fn wide(number: u64) -> [Value; 2] {
    [number >> 32, number & 0xffff_ffff]
        .map(|half| Value::Cell(u32::try_from(half).unwrap_or(u32::MAX)))
}

/// The root node of the source `text`.
///
/// # Errors
/// The line, what was found and what was expected.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser { text, at: 0 };
    parser.expect("/dts-v1/")?;
    parser.expect(";")?;
    parser.expect("/")?;
    let mut root = Node::default();
    parser.body(&mut root)?;
    parser.skip()?;
    match parser.rest() {
        "" => Ok(root),
        _ => parser.fail("the end of the file"),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fail<T>(&self, expected: &str) -> Result<T, String> {
        let before = self.text.bytes().take(self.at);
        let line = before.filter(|byte| *byte == b'\n').count() + 1;
        let found = self.rest().lines().next().unwrap_or("the end");
        Err(format!("line {line}: found `{found}`, expected {expected}"))
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("/*") {
                match trimmed.find("*/") {
                    Some(end) => end + 2,
                    None => return self.fail("`*/` after it"),
                }
            } else if trimmed.starts_with("//") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else {
                return Ok(());
            };
            self.at += comment;
        }
    }

    /// Takes `token` if it comes next.
    fn take(&mut self, token: &str) -> Result<bool, String> {
        self.skip()?;
        let comes = self.rest().starts_with(token);
        if comes {
            self.at += token.len();
        }
        Ok(comes)
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token)? {
            Ok(())
        } else {
            self.fail(&format!("`{token}`"))
        }
    }

    fn word(&mut self, expected: &str) -> Result<&'a str, String> {
        self.skip()?;
        let rest = self.rest();
        let other = |letter: char| !(letter.is_ascii_alphanumeric() || "#,._+-@".contains(letter));
        let end = rest.find(other).unwrap_or(rest.len());
        match rest.get(..end) {
            Some(word) if !word.is_empty() => {
                self.at += end;
                Ok(word)
            }
            _ => self.fail(expected),
        }
    }

    /// `{ properties and nodes };`
    fn body(&mut self, node: &mut Node) -> Result<(), String> {
        self.expect("{")?;
        while !self.take("}")? {
            let mut name = self.word("a property, a node or `}`")?;
            let mut label = None;
            if self.take(":")? {
                label = Some(name.to_owned());
                name = self.word("a node's name")?;
            }
            self.skip()?;
            if self.rest().starts_with('{') {
                let mut child = Node {
                    name: name.to_owned(),
                    label,
                    ..Node::default()
                };
                self.body(&mut child)?;
                node.children.push(child);
            } else if label.is_some() {
                return self.fail("`{`: only nodes have labels here");
            } else {
                let mut values = Vec::new();
                if self.take("=")? {
                    self.value(&mut values)?;
                    while self.take(",")? {
                        self.value(&mut values)?;
                    }
                }
                self.expect(";")?;
                node.set(name, values);
            }
        }
        self.expect(";")
    }

    fn value(&mut self, values: &mut Vec<Value>) -> Result<(), String> {
        if self.take("\"")? {
            let rest = self.rest();
            let Some(end) = rest.find(['"', '\n', '\\']) else {
                return self.fail("a text and `\"` after it");
            };
            values.push(Value::Text(rest.get(..end).unwrap_or_default().to_owned()));
            self.at += end;
            return self.expect("\"");
        }
        self.expect("<")?;
        while !self.take(">")? {
            if self.take("&")? {
                values.push(Value::Reference(self.word("a label")?.to_owned()));
                continue;
            }
            let start = self.at;
            let word = self.word("a number, a reference or `>`")?;
            let number = match word.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => word.parse(),
            };
            match number {
                Ok(number) => values.push(Value::Cell(number)),
                Err(_) => {
                    self.at = start;
                    self.skip()?;
                    return self.fail("a number of at most 32 bits");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read() {
        let text = "/dts-v1/; // comment\n/ { #size-cells = <2>; empty;\n\
                    gic: intc@8000000 { reg = <0 0x8000000 0 0x10000>, <1 2 3 4>; };\n\
                    dev { compatible = \"a,b\", \"c\"; parent = <&gic 7>; /* end */ }; };";
        let root = parse(text).unwrap();
        assert_eq!(root.cells("#size-cells"), [2]);
        let gic = root.labelled("gic").unwrap();
        assert_eq!(gic.name, "intc@8000000");
        assert_eq!(
            gic.reg(),
            [(0x800_0000, 0x1_0000), (1 << 32 | 2, 3 << 32 | 4)]
        );
        let dev = root.child("dev").unwrap();
        assert_eq!(dev.text("compatible"), Some("a,b"));
        assert_eq!(
            dev.values("parent"),
            [Value::Reference("gic".into()), Value::Cell(7)]
        );
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, expected) in [
            ("/ { };", "line 1: found `/ { };`, expected `/dts-v1/`"),
            (
                "/dts-v1/;\n/ {\n a = <x>;\n};",
                "line 3: found `x>;`, expected a number of at most 32 bits",
            ),
            (
                "/dts-v1/;\n/ {\n a = <1>\n};",
                "line 4: found `};`, expected `;`",
            ),
            (
                "/dts-v1/;\n/ {\n",
                "line 3: found `the end`, expected a property, a node or `}`",
            ),
            (
                "/dts-v1/;\n/ { /* ",
                "line 2: found `/* `, expected `*/` after it",
            ),
            (
                "/dts-v1/;\n/ { };x",
                "line 2: found `x`, expected the end of the file",
            ),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()));
        }
    }
}

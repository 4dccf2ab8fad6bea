//! The open groups and what has been parsed of each.

use regex_syntax::hir::{Capture, Hir, Repetition};

use super::cursor::Cursor;
use super::{Captures, Flags, MAX_NESTING, MAX_REPEAT, class};
use crate::encoding::Encoding;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::program_size::{self, ProgramSize};
use crate::rune_set::RuneSet;

/// A repeat operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Star,
    Plus,
    Question,
    /// `{min,max}`; no `max` stands for no limit.
    Counted {
        min: u32,
        max: Option<u32>,
    },
}

/// A parsed part of the pattern.
struct Node {
    piece: Piece,
    /// The copies that counted repeats make of the innermost part, on the worst path down.
    copies: u64,
    /// Levels of concatenations, alternations and repeats.
    depth: usize,
    size: ProgramSize,
}

enum Piece {
    /// Text, kept apart from `Hir` so that a long literal is one buffer.
    Literal(Vec<u8>),
    Hir(Hir),
}

impl Node {
    fn new(hir: Hir, size: ProgramSize) -> Self {
        Self {
            piece: Piece::Hir(hir),
            copies: 1,
            depth: 0,
            size,
        }
    }

    fn into_hir(self) -> Hir {
        match self.piece {
            Piece::Literal(bytes) => Hir::literal(bytes),
            Piece::Hir(hir) => hir,
        }
    }

    /// The same as a numbered group.
    fn captured(self, index: u32) -> Self {
        let (copies, depth, size) = (self.copies, self.depth + 1, self.size);
        let hir = Hir::capture(Capture {
            index,
            name: None,
            sub: Box::new(self.into_hir()),
        });
        Self {
            piece: Piece::Hir(hir),
            copies,
            depth,
            size,
        }
    }

    /// Joins `nodes` into one. The caller gives the size.
    fn join(nodes: Vec<Node>, size: ProgramSize, with: fn(Vec<Hir>) -> Hir) -> Self {
        let copies = nodes.iter().map(|node| node.copies).max().unwrap_or(1);
        let depth = nodes.iter().map(|node| node.depth + 1).max().unwrap_or(0);
        let hir = with(nodes.into_iter().map(Node::into_hir).collect());
        Self {
            piece: Piece::Hir(hir),
            copies,
            depth,
            size,
        }
    }
}

/// A group: the whole pattern, or what an open parenthesis began.
struct Frame {
    /// Finished branches, up to the last `|`.
    branches: Vec<Node>,
    /// The parts of the branch being parsed.
    parts: Vec<Node>,
    /// Where the parenthesis is.
    offset: usize,
    /// The group's number, where it captures.
    capture: Option<u32>,
    /// The flags to return to at the end of the group.
    flags_outside: Flags,
}

/// The open groups, the innermost in `frame`.
pub(super) struct Stack {
    outer: Vec<Frame>,
    frame: Frame,
    /// Groups that capture, so far.
    groups: u32,
    /// Whether captures and greed are kept.
    keeps_captures: bool,
    /// The flags at the cursor.
    pub(super) flags: Flags,
}

impl Stack {
    pub(super) fn new(encoding: Encoding, keeps_captures: bool) -> Self {
        let flags = Flags {
            encoding,
            fold_case: false,
            multi_line: false,
            dot_matches_newline: false,
            swap_greed: false,
        };
        Self {
            outer: Vec::new(),
            frame: Frame::new(0, None, flags),
            groups: 0,
            keeps_captures,
            flags,
        }
    }

    pub(super) fn open(&mut self, offset: usize, capturing: bool) {
        let capture = capturing.then(|| {
            self.groups += 1;
            self.groups
        });
        let opened = Frame::new(offset, capture, self.flags);
        self.outer.push(std::mem::replace(&mut self.frame, opened));
    }

    pub(super) fn close(&mut self, cursor: &Cursor<'_>, offset: usize) -> Result<(), SyntaxError> {
        let Some(outer) = self.outer.pop() else {
            return Err(cursor.error_naming(
                SyntaxErrorKind::UnexpectedParen,
                offset,
                cursor.pattern(),
            ));
        };
        let inner = std::mem::replace(&mut self.frame, outer);
        self.flags = inner.flags_outside;
        let (offset, capture) = (inner.offset, inner.capture);
        let mut node = inner.into_node(cursor, offset)?;
        if let Some(index) = capture {
            node.size = node.size.captured();
            if self.keeps_captures {
                node = node.captured(index);
                check_depth(node.depth, cursor, offset)?;
            }
        }
        self.frame.push(node);
        Ok(())
    }

    pub(super) fn alternative(
        &mut self,
        cursor: &Cursor<'_>,
        offset: usize,
    ) -> Result<(), SyntaxError> {
        self.frame.end_branch(cursor, offset)
    }

    pub(super) fn push_hir(&mut self, hir: Hir) {
        self.frame.push(Node::new(hir, ProgramSize::ONE));
    }

    pub(super) fn push_class(&mut self, set: RuneSet) {
        let encoding = self.flags.encoding;
        let mut set = encoding.within(set);
        if let &[(low, high)] = set.ranges()
            && low == high
        {
            self.push_rune(low);
            return;
        }
        let size = program_size::of_class(&mut set, encoding);
        self.frame.push(Node::new(encoding.class(set), size));
    }

    /// Pushes one character of the pattern, with its other cases where the flags say so.
    pub(super) fn push_literal(&mut self, rune: u32) {
        if self.flags.fold_case {
            self.push_class(class::literal(rune, self.flags));
        } else {
            self.push_rune(rune);
        }
    }

    fn push_rune(&mut self, rune: u32) {
        let bytes = self.flags.encoding.encode(rune);
        let size = ProgramSize::of_literal(&bytes);
        self.frame.push(Node {
            piece: Piece::Literal(bytes),
            copies: 1,
            depth: 0,
            size,
        });
    }

    /// Applies `repeat`, which the pattern has from `start` to the cursor, to what comes before;
    /// `lazy` where a `?` follows it.
    pub(super) fn repeat(
        &mut self,
        repeat: Repeat,
        lazy: bool,
        cursor: &Cursor<'_>,
        start: usize,
    ) -> Result<(), SyntaxError> {
        let (min, max) = match repeat {
            Repeat::Star => (0, None),
            Repeat::Plus => (1, None),
            Repeat::Question => (0, Some(1)),
            Repeat::Counted { min, max } => (min, max),
        };
        let wrong_size = || cursor.error(SyntaxErrorKind::RepeatSize, start);
        if min > MAX_REPEAT || max.is_some_and(|max| max < min || max > MAX_REPEAT) {
            return Err(wrong_size());
        }
        let Some(node) = self.frame.parts.pop() else {
            return Err(cursor.error(SyntaxErrorKind::RepeatArgument, start));
        };
        let mut copies = node.copies;
        if matches!(repeat, Repeat::Counted { .. }) {
            copies = copies.saturating_mul(u64::from(max.unwrap_or(min).max(1)));
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && copies > u64::from(MAX_REPEAT) {
                return Err(wrong_size());
            }
        }
        let depth = node.depth + 1;
        check_depth(depth, cursor, start)?;
        let size = node.size.repeated(min, max);
        let hir = Hir::repetition(Repetition {
            min,
            max,
            greedy: !self.keeps_captures || lazy == self.flags.swap_greed,
            sub: Box::new(node.into_hir()),
        });
        self.frame.push(Node {
            piece: Piece::Hir(hir),
            copies,
            depth,
            size,
        });
        Ok(())
    }

    pub(super) fn finish(self, cursor: &Cursor<'_>) -> Result<Captures, SyntaxError> {
        if !self.outer.is_empty() {
            return Err(cursor.error_naming(
                SyntaxErrorKind::MissingParen,
                self.frame.offset,
                cursor.pattern(),
            ));
        }
        let node = self.frame.into_node(cursor, 0)?;
        if node.size.over_limit() {
            return Err(cursor.error_naming(SyntaxErrorKind::PatternTooLarge, 0, ""));
        }
        Ok(Captures {
            hir: node.into_hir(),
            count: self.groups,
        })
    }
}

impl Frame {
    fn new(offset: usize, capture: Option<u32>, flags_outside: Flags) -> Self {
        Self {
            branches: Vec::new(),
            parts: Vec::new(),
            offset,
            capture,
            flags_outside,
        }
    }

    /// Pushes a part. Two literals before it become one: no operator can reach the first any more.
    fn push(&mut self, node: Node) {
        if let [.., first, second] = self.parts.as_mut_slice()
            && let (Piece::Literal(text), Piece::Literal(more)) = (&mut first.piece, &second.piece)
        {
            text.extend_from_slice(more);
            first.size = first.size.followed_by(second.size);
            self.parts.pop();
        }
        self.parts.push(node);
    }

    fn end_branch(&mut self, cursor: &Cursor<'_>, offset: usize) -> Result<(), SyntaxError> {
        let mut parts = std::mem::take(&mut self.parts);
        let branch = if parts.len() == 1 { parts.pop() } else { None };
        let branch = match branch {
            Some(branch) => branch,
            None => {
                let size = ProgramSize::of_concatenation(parts.iter().map(|part| part.size));
                Node::join(parts, size, Hir::concat)
            }
        };
        check_depth(branch.depth, cursor, offset)?;
        self.branches.push(branch);
        Ok(())
    }

    /// Ends the group.
    fn into_node(mut self, cursor: &Cursor<'_>, offset: usize) -> Result<Node, SyntaxError> {
        self.end_branch(cursor, offset)?;
        let mut branches = self.branches;
        let only = if branches.len() == 1 {
            branches.pop()
        } else {
            None
        };
        if let Some(only) = only {
            return Ok(only);
        }
        let size = ProgramSize::of_alternation(branches.iter().map(|branch| branch.size));
        let node = Node::join(branches, size, Hir::alternation);
        check_depth(node.depth, cursor, offset)?;
        Ok(node)
    }
}

fn check_depth(depth: usize, cursor: &Cursor<'_>, offset: usize) -> Result<(), SyntaxError> {
    if depth <= MAX_NESTING {
        return Ok(());
    }
    let at = cursor.pattern().get(offset..).unwrap_or_default();
    let found = at.chars().next().map(String::from);
    Err(cursor.error_naming(
        SyntaxErrorKind::NestingTooDeep,
        offset,
        &found.unwrap_or_default(),
    ))
}

//! Unicode's groups and case folding as RE2 has them: those of Unicode 15.1.
//!
//! The tables come from regex-syntax, which is at a later version. What that version added is
//! taken out again by the age of the code points, and what it moved is put back; the oracle test compares every group and every
//! fold with RE2's.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use crate::rune_set::{MAX_RUNE, RuneSet};

/// General categories that RE2 knows, besides `C`, `Cs` and `Any`.
const CATEGORIES: &[&str] = &[
    "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl",
    "Zp", "Zs",
];

/// Scripts that RE2 knows.
const SCRIPTS: &[&str] = &[
    "Adlam",
    "Ahom",
    "Anatolian_Hieroglyphs",
    "Arabic",
    "Armenian",
    "Avestan",
    "Balinese",
    "Bamum",
    "Bassa_Vah",
    "Batak",
    "Bengali",
    "Bhaiksuki",
    "Bopomofo",
    "Brahmi",
    "Braille",
    "Buginese",
    "Buhid",
    "Canadian_Aboriginal",
    "Carian",
    "Caucasian_Albanian",
    "Chakma",
    "Cham",
    "Cherokee",
    "Chorasmian",
    "Common",
    "Coptic",
    "Cuneiform",
    "Cypriot",
    "Cypro_Minoan",
    "Cyrillic",
    "Deseret",
    "Devanagari",
    "Dives_Akuru",
    "Dogra",
    "Duployan",
    "Egyptian_Hieroglyphs",
    "Elbasan",
    "Elymaic",
    "Ethiopic",
    "Georgian",
    "Glagolitic",
    "Gothic",
    "Grantha",
    "Greek",
    "Gujarati",
    "Gunjala_Gondi",
    "Gurmukhi",
    "Han",
    "Hangul",
    "Hanifi_Rohingya",
    "Hanunoo",
    "Hatran",
    "Hebrew",
    "Hiragana",
    "Imperial_Aramaic",
    "Inherited",
    "Inscriptional_Pahlavi",
    "Inscriptional_Parthian",
    "Javanese",
    "Kaithi",
    "Kannada",
    "Katakana",
    "Kawi",
    "Kayah_Li",
    "Kharoshthi",
    "Khitan_Small_Script",
    "Khmer",
    "Khojki",
    "Khudawadi",
    "Lao",
    "Latin",
    "Lepcha",
    "Limbu",
    "Linear_A",
    "Linear_B",
    "Lisu",
    "Lycian",
    "Lydian",
    "Mahajani",
    "Makasar",
    "Malayalam",
    "Mandaic",
    "Manichaean",
    "Marchen",
    "Masaram_Gondi",
    "Medefaidrin",
    "Meetei_Mayek",
    "Mende_Kikakui",
    "Meroitic_Cursive",
    "Meroitic_Hieroglyphs",
    "Miao",
    "Modi",
    "Mongolian",
    "Mro",
    "Multani",
    "Myanmar",
    "Nabataean",
    "Nag_Mundari",
    "Nandinagari",
    "New_Tai_Lue",
    "Newa",
    "Nko",
    "Nushu",
    "Nyiakeng_Puachue_Hmong",
    "Ogham",
    "Ol_Chiki",
    "Old_Hungarian",
    "Old_Italic",
    "Old_North_Arabian",
    "Old_Permic",
    "Old_Persian",
    "Old_Sogdian",
    "Old_South_Arabian",
    "Old_Turkic",
    "Old_Uyghur",
    "Oriya",
    "Osage",
    "Osmanya",
    "Pahawh_Hmong",
    "Palmyrene",
    "Pau_Cin_Hau",
    "Phags_Pa",
    "Phoenician",
    "Psalter_Pahlavi",
    "Rejang",
    "Runic",
    "Samaritan",
    "Saurashtra",
    "Sharada",
    "Shavian",
    "Siddham",
    "SignWriting",
    "Sinhala",
    "Sogdian",
    "Sora_Sompeng",
    "Soyombo",
    "Sundanese",
    "Syloti_Nagri",
    "Syriac",
    "Tagalog",
    "Tagbanwa",
    "Tai_Le",
    "Tai_Tham",
    "Tai_Viet",
    "Takri",
    "Tamil",
    "Tangsa",
    "Tangut",
    "Telugu",
    "Thaana",
    "Thai",
    "Tibetan",
    "Tifinagh",
    "Tirhuta",
    "Toto",
    "Ugaritic",
    "Vai",
    "Vithkuqi",
    "Wancho",
    "Warang_Citi",
    "Yezidi",
    "Yi",
    "Zanabazar_Square",
];

/// A non-spacing mark up to Unicode 15.1, a spacing one later.
const MARK_OF_AHOM: u32 = 0x1171E;

const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);

/// The code points of `\p{name}`. Names are taken exactly; RE2 has no aliases.
pub(crate) fn named_group(name: &str) -> Option<RuneSet> {
    match name {
        "Any" => Some(RuneSet::new([(0, MAX_RUNE)])),
        "Cs" => Some(RuneSet::new([SURROGATES])),
        // All of RE2's groups in C: without the unassigned code points.
        "C" => {
            let mut set = RuneSet::new([SURROGATES]);
            for part in ["Cc", "Cf", "Co"] {
                set.union(&property("gc", part)?);
            }
            Some(set)
        }
        _ if CATEGORIES.contains(&name) => {
            let set = property("gc", name)?;
            Some(match name {
                "Mn" => set.with(MARK_OF_AHOM),
                "Mc" => set.without(MARK_OF_AHOM),
                _ => set,
            })
        }
        _ if SCRIPTS.contains(&name) => property("sc", name),
        _ => None,
    }
}

/// Adds the other case of each ASCII letter. RE2 folds no more in Latin-1.
pub(crate) fn ascii_case_folded(mut set: RuneSet) -> RuneSet {
    const CASES: [(u32, u32); 2] = [(0x41, 0x61), (0x61, 0x41)];
    let mut folded = RuneSet::default();
    for (from, to) in CASES {
        let mut letters = set.intersection(&mut RuneSet::new([(from, from + 25)]));
        for &(low, high) in letters.ranges() {
            folded.add(low - from + to, high - from + to);
        }
    }
    set.union(&folded);
    set
}

/// Adds the other cases of each code point: Unicode's simple folding, both ways.
pub(crate) fn case_folded(mut set: RuneSet) -> RuneSet {
    let mut known = to_class(&mut set);
    known.intersect(assigned());
    known.case_fold_simple();
    known.intersect(assigned());
    set.union(&from_class(&known));
    set
}

/// Whether a group may have this name: letters, marks, digits and connecting punctuation.
pub(crate) fn is_capture_name(name: &str) -> bool {
    static ALLOWED: OnceLock<ClassUnicode> = OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| {
        let mut allowed = ClassUnicode::empty();
        for category in ["Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Mn", "Mc", "Nd", "Pc"] {
            if let Some(mut set) = property("gc", category) {
                allowed.union(&to_class(&mut set));
            }
        }
        allowed
    });
    !name.is_empty()
        && name.chars().all(|c| {
            let index = allowed.ranges().partition_point(|range| range.end() < c);
            allowed
                .ranges()
                .get(index)
                .is_some_and(|range| range.start() <= c)
        })
}

/// The ranges of `set` as characters, without surrogates.
pub(crate) fn to_class(set: &mut RuneSet) -> ClassUnicode {
    ClassUnicode::new(set.ranges().iter().filter_map(|&(low, high)| {
        let low = if (SURROGATES.0..=SURROGATES.1).contains(&low) {
            SURROGATES.1 + 1
        } else {
            low
        };
        let high = if (SURROGATES.0..=SURROGATES.1).contains(&high) {
            SURROGATES.0 - 1
        } else {
            high
        };
        // Both ends are characters; the range leaves out the surrogates in between by itself.
        let (start, end) = (char::from_u32(low)?, char::from_u32(high)?);
        (low <= high).then(|| ClassUnicodeRange::new(start, end))
    }))
}

fn from_class(class: &ClassUnicode) -> RuneSet {
    RuneSet::new(class.ranges().iter().flat_map(|range| {
        let (low, high) = (u32::from(range.start()), u32::from(range.end()));
        if low < SURROGATES.0 && SURROGATES.1 < high {
            [(low, SURROGATES.0 - 1), (SURROGATES.1 + 1, high)]
        } else {
            [(low, high), (low, high)]
        }
    }))
}

/// The code points assigned in Unicode 15.1.
fn assigned() -> &'static ClassUnicode {
    static ASSIGNED: OnceLock<ClassUnicode> = OnceLock::new();
    ASSIGNED.get_or_init(|| lookup("age", "15.1").unwrap_or_else(ClassUnicode::empty))
}

fn property(property: &str, value: &str) -> Option<RuneSet> {
    let mut class = lookup(property, value)?;
    class.intersect(assigned());
    Some(from_class(&class))
}

fn lookup(property: &str, value: &str) -> Option<ClassUnicode> {
    let hir = regex_syntax::Parser::new()
        .parse(&format!("\\p{{{property}={value}}}"))
        .ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A group of one code point.
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(c, c)]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_code_points() {
        for name in CATEGORIES.iter().chain(SCRIPTS) {
            let mut set = named_group(name).unwrap_or_else(|| panic!("no group {name}"));
            assert!(!set.ranges().is_empty(), "{name}");
        }
        assert!(named_group("Cn").is_none());
        assert!(named_group("greek").is_none());
    }

    #[test]
    fn folding_goes_through_the_whole_orbit() {
        let mut set = case_folded(RuneSet::new([(0x6B, 0x6B)]));
        assert_eq!(set.ranges(), [(0x4B, 0x4B), (0x6B, 0x6B), (0x212A, 0x212A)]);
        // U+0264 has an upper case from Unicode 16 on only.
        let mut set = case_folded(RuneSet::new([(0x264, 0x264)]));
        assert_eq!(set.ranges(), [(0x264, 0x264)]);
    }

    #[test]
    fn surrogates_survive_the_way_through_characters() {
        let mut set = RuneSet::new([(0xD700, 0xE010)]);
        assert_eq!(
            from_class(&to_class(&mut set)).ranges(),
            [(0xD700, 0xD7FF), (0xE000, 0xE010)]
        );
        assert!(
            to_class(&mut RuneSet::new([(0xD800, 0xDFFF)]))
                .ranges()
                .is_empty()
        );
    }
}

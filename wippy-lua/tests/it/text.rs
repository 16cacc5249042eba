//! `text`: expressions, differences, chunks.

use proptest::{collection::vec, prelude::*, sample::select};
use wippy_wit::Value;

use crate::support::App;

#[tokio::test]
async fn regular_expressions() {
    let prelude = "local text = require('text')
        local function re(pattern) return assert(text.regexp.compile(pattern)) end
        local pair = re('(?P<key>[a-z]+)=([0-9]+)?')";
    let expressions = r"
        re('[0-9]+'):match_string('abc123'), re('[0-9]+'):match_string('abc')
        re('[0-9]+'):find_string('abc123def'), re('[0-9]+'):find_string('abc')
        re('[0-9]'):find_all_string('a1b2c3'), re('x'):find_all_string('abc')
        pair:find_string_submatch('so a=1 b='), pair:find_string_submatch('none')
        pair:find_all_string_submatch('a=1 b='), pair:find_all_string_submatch('none')
        re('[0-9]+'):find_string_index('abc123'), re('x'):find_string_index('abc')
        ('abc123'):sub(table.unpack(re('[0-9]+'):find_string_index('abc123')))
        re('[0-9]'):find_all_string_index('a1b2c3'), re('x'):find_all_string_index('abc')
        re('[0-9]'):replace_all_string('a1b2', 'X'), pair:replace_all_string('a=1', '$2=${key}')
        re(','):split('a,b,c', -1), re(','):split('a,b,c', 2), re(','):split('a,b,c', 0), re(','):split('', -1)
        re('a*'):split('abaabaccadaaae', 5), re(''):split('abc', -1), re('b'):split('b', -1)
        pair:num_subexp(), pair:subexp_names(), pair:string(), tostring(pair)
        re('(?-u)\\xff'):find_string('a\255b') == '\255', re('\\p{Greek}+'):find_string('abc γδ')
        re('(a+)+$'):match_string(('a'):rep(50000) .. 'b')
        text.regexp.compile('(')
        text.regexp.compile('(?=lookahead)')
        text.regexp.compile('(x{1000}){1000}')
        text.regexp.compile(7)
        pair:find_string(nil)
    ";
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}

#[tokio::test]
async fn a_script_may_hold_so_many_expressions_and_make_any_number() {
    let body = "
        local compile = require('text').regexp.compile
        for i = 1, 2000 do assert(compile('a' .. i)) end
        local held = {}
        for i = 1, 200 do held[i] = compile('same') end
        for i = 1, 200 do
            local expression, err = compile('b' .. i)
            if not expression then return { err:kind(), #held > 250 } end
            held[#held + 1] = expression
        end";
    let expected = Value::array(["RATE_LIMITED".into(), true.into()]);
    assert_eq!(App::new().run(body).await.unwrap(), expected);
}

#[tokio::test]
async fn differences_and_patches() {
    let prelude = "local text = require('text')
        local diff = assert(text.diff.new())
        local strict = assert(text.diff.new({ match_threshold = 0, patch_margin = 2 }))
        local hello = diff:compare('hello world', 'hello there')
        local fox1 = 'The quick brown fox jumps over the lazy dog'
        local fox2 = 'The quick red fox jumps over the lazy cat'
        local patches = diff:patch_make(fox1, fox2)";
    let expressions = r"
        diff:compare('hello world', 'hello there')
        diff:compare('same', 'same'), diff:compare('', ''), diff:compare('', 'new'), diff:compare('old', '')
        diff:compare('naïve', 'naive')
        diff:summarize(hello)
        diff:pretty_text(hello)
        diff:pretty_html(hello), diff:pretty_html(diff:compare('<a> & b', '<a> & c'))
        patches
        diff:patch_apply(patches, fox1)
        diff:patch_apply(patches, 'Before it all: ' .. fox1)
        diff:patch_apply(patches, (fox1:gsub('quick', 'swift')))
        strict:patch_apply(strict:patch_make(fox1, fox2), (fox1:gsub('quick brown', 'quick  brown')))
        diff:patch_apply(patches, 'something else')
        diff:patch_apply(diff:patch_make('', 'new'), '')
        diff:compare('a')
        diff:compare('a', '\255')
        diff:summarize('x')
        diff:patch_apply({ { start = 0 } }, 'x')
        text.diff.new({ diff_timeout = 100 })
        text.diff.new({ match_threshold = 'half' })
        text.diff.new('fast')
    ";
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}

#[tokio::test]
async fn documents_are_cut_into_chunks() {
    let prelude = r"local text = require('text')
        local function split(options, document)
            return assert(text.splitter.recursive(options)):split_text(document)
        end
        local function markdown(options, document)
            return assert(text.splitter.markdown(options)):split_text(document)
        end
        local words = 'one two three four five six seven eight nine ten'
        local guide = '# Guide\n\nIntro with [a link][Docs].\n\n## Install\n\n```sh\ncargo build\ncargo test --workspace\n```\n\nThen run it.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n# Other\n\nText.\n\n[docs]: https://example.com/docs'";
    let expressions = r"
        split({ chunk_size = 20, chunk_overlap = 0 }, words)
        split({ chunk_size = 20, chunk_overlap = 10 }, words)
        split({ chunk_size = 30, chunk_overlap = 0 }, 'First paragraph.\n\nSecond one, which is longer than that.\n\nThird.')
        split({ chunk_size = 5, chunk_overlap = 0 }, 'unbreakable')
        split({ chunk_size = 8, chunk_overlap = 0, separators = { ';', '' }, keep_separator = true }, 'a;b;cccccccccc;d')
        split({}, ''), split({}, '   '), split(nil, 'short')
        split({ chunk_size = 4, chunk_overlap = 1 }, 'äöüßéèê')
        markdown({ chunk_size = 200 }, guide)
        markdown({ chunk_size = 60, heading_hierarchy = true, reference_links = true }, guide)
        markdown({ chunk_size = 30, code_blocks = true, join_table_rows = true, chunk_overlap = 0 }, guide)
        markdown({ chunk_size = 24, chunk_overlap = 0 }, guide)
        text.splitter.recursive({ chunk_size = 10, chunk_overlap = 0 }):split_batch({ { content = 'page one text', metadata = { page = 1 } }, { content = 'two', metadata = { page = 2 } } })
        text.splitter.recursive():split_batch({ 'text' })
        text.splitter.recursive():split_text(7)
        text.splitter.recursive({ chunk_size = 10, chunk_overlap = 10 })
        text.splitter.recursive({ chunk_size = 0 })
        text.splitter.markdown({ code_blocks = 'yes' })
        text.splitter.recursive({ chunk_size = 100000, chunk_overlap = 99999 }):split_text(('x'):rep(300000))
    ";
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}

fn texts() -> impl Strategy<Value = String> {
    let words = select(vec![
        "one ", "two", "é", "\n", "\n\n", "# H\n", "```\n", "| a |\n", "日本", "[a][b]", "x",
    ]);
    vec(words, 0..40).prop_map(|words| words.concat())
}

fn run(script: &str, arguments: &[Value]) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let app = App::new();
    app.add("test:script", script);
    runtime.block_on(app.call("test:script", arguments)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_differs_leads_from_one_text_to_the_other(old in texts(), new in texts(), other in texts()) {
        let script = "return { main = function(old, new, other)
            local diff = require('text').diff.new()
            local before, after = {}, {}
            for _, piece in ipairs(diff:compare(old, new)) do
                if piece.operation ~= 'insert' then before[#before + 1] = piece.text end
                if piece.operation ~= 'delete' then after[#after + 1] = piece.text end
            end
            assert(table.concat(before) == old and table.concat(after) == new, 'wrong pieces')
            local patches = diff:patch_make(old, new)
            local result, applied = diff:patch_apply(patches, old)
            assert(applied and result == new, 'wrong patch')
            assert(type(diff:patch_apply(patches, other)) == 'string')
            return true
        end }";
        prop_assert_eq!(run(script, &[old.into(), new.into(), other.into()]), Value::Boolean(true));
    }

    #[test]
    fn chunks_are_small_and_lose_nothing(text in texts(), size in 1_i64..40, overlap in 0_i64..40) {
        let script = "return { main = function(document, size, overlap)
            local splitter = require('text').splitter
            local options = { chunk_size = size, chunk_overlap = math.min(overlap, size - 1) }
            local seen = {}
            for _, chunk in ipairs(assert(splitter.recursive(options)):split_text(document)) do
                assert(utf8.len(chunk) <= size, chunk)
                for _, letter in utf8.codes(chunk) do seen[letter] = true end
            end
            for _, letter in utf8.codes(document) do
                assert(seen[letter] or utf8.char(letter):match('%s'), utf8.char(letter))
            end
            for _, chunk in ipairs(assert(splitter.markdown(options)):split_text(document)) do
                assert(utf8.len(chunk) <= size, chunk)
            end
            return true
        end }";
        prop_assert_eq!(run(script, &[text.into(), size.into(), overlap.into()]), Value::Boolean(true));
    }
}

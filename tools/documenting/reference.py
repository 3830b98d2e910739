# SPDX-License-Identifier: Apache-2.0
"""The API reference: one Markdown page per public header, from its declarations and their `///` comments, which are Markdown already."""

import re
import textwrap
from collections import Counter
from dataclasses import dataclass, field

import tree_sitter
import tree_sitter_cpp

from documenting.markdown import for_site

PRIVATE = {"detail", "pass", "trainer", "process", "protocol"}  # rooms of private headers, and of old names
TYPES = {"struct_specifier": "struct", "class_specifier": "class", "enum_specifier": "enum", "union_specifier": "union"}
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_cpp.language()))


@dataclass
class Entity:
    """Something that a header declares: its code without bodies and comments, and what its comment says."""
    kind: str
    name: str
    code: str
    doc: str = ""
    members: list = field(default_factory=list)
    bases: list = field(default_factory=list)


@dataclass
class Header:
    path: str  # below include/
    intro: str  # the comments of its namespaces
    entities: list


def is_public(path, text):
    """Whether users include the header `path` (creditlib/credit/dfa.hpp)."""
    return not PRIVATE & set(path.split("/")) and path != "creditlib/creditlib.hpp" and "// Moved; this header goes with" not in text


def parse(path, text):
    # The grammar takes `x.template f<T>()` for an error; names in bodies do not matter here.
    source = re.sub(rb"(\.|->)template (?=\w)", rb"\1", text.encode())
    header = Header(path, "", [])
    _namespace(header, PARSER.parse(source).root_node, "")
    return header


# ---- From the tree of a header to its entities ----

def _namespace(header, node, inside):
    for doc, child in _documented(node):
        if child.type == "namespace_definition":
            named = child.child_by_field_name("name")
            name = named.text.decode() if named else "(unnamed)"
            if name != "creditlib":
                name = "::".join(filter(None, [inside, name.removeprefix("creditlib::")]))
            if doc:
                header.intro += doc + "\n\n"
            _namespace(header, child.child_by_field_name("body"), "" if name == "creditlib" else name)
        elif child.type.startswith("preproc_if") or child.type == "linkage_specification":
            _namespace(header, child, inside)
        else:
            entity = _entity(child, doc)
            if entity and not (entity.kind == "function" and "::" in entity.name and not doc):  # a member's body, outside of its class
                entity.name = f"{inside}::{entity.name}" if inside else entity.name
                header.entities.append(entity)


def _documented(node):
    """(comment, node) of the children: the `///` lines right above a node, or `///<` behind it."""
    found, lines, last_row = [], [], -2
    for child in node.named_children:
        text = child.text.decode()
        if child.type != "comment":
            fits = child.start_point[0] == last_row + 1
            found.append(["\n".join(lines) if fits else "", child])
            lines = []
        elif text.startswith("///<"):
            if found:
                found[-1][0] = f"{found[-1][0]}\n{text[4:].strip()}".strip()
        elif text.startswith("///"):
            if child.start_point[0] != last_row + 1:
                lines = []
            lines.append(text[3:].removeprefix(" ").rstrip())
        last_row = child.end_point[0] - (child.end_point[1] == 0)
    return found


def _code(node, end=None):
    """The source of a node up to `end`, without line breaks inside and without comments."""
    text = node.text[:end.start_byte - node.start_byte].decode() if end else node.text.decode()
    text = re.sub(r"\s*//[^\n]*", "", text)
    return re.sub(r"\s*\n\s*", " ", text).strip().rstrip(";").strip()


def _name(node):
    """The name that a declarator declares."""
    while node is not None:
        inner = node.child_by_field_name("declarator")
        if inner is None:
            inner = next((child for child in node.named_children if child.type.endswith("declarator")), None)
        if inner is None:
            return node.text.decode()
        node = inner
    return ""


def _entity(node, doc, template=""):
    kind = node.type
    if kind == "template_declaration":
        inner = node.named_children[-1]
        return _entity(inner, doc, _code(node, inner) + " ")
    if kind in TYPES:
        return _type(node, doc, template)
    if kind in ("field_declaration", "declaration") and (typed := node.child_by_field_name("type")) is not None and typed.type in TYPES:
        return _type(typed, doc, template)
    if kind == "function_definition":
        return _function(node, doc, template)
    if kind in ("declaration", "field_declaration"):
        declarators = node.children_by_field_name("declarator")
        if not declarators or not node.child_by_field_name("type") and "->" in _code(node):
            return None  # a deduction guide
        name = ", ".join(map(_name, declarators))
        called = any("function_declarator" in (each.type, *(inner.type for inner in each.named_children)) for each in declarators)
        return Entity("function" if called else "variable", name, template + _code(node) + ";", doc)
    if kind in ("alias_declaration", "type_definition"):
        return Entity("alias", _name(node.child_by_field_name("name") or node), template + _code(node) + ";", doc)
    if kind == "concept_definition":
        return Entity("concept", node.child_by_field_name("name").text.decode(), template + node.text.decode().strip(), doc)
    if kind == "expression_statement" and (holder := re.fullmatch(r"TORCH_MODULE\((\w+)\);?", node.text.decode().strip())):
        return Entity("class", holder[1], f"class {holder[1]} : public torch::nn::ModuleHolder<{holder[1]}Impl>;",
                      doc or f"Holds a `{holder[1]}Impl`, as LibTorch's own modules are held.")
    if kind == "preproc_def" and doc:
        return Entity("macro", node.child_by_field_name("name").text.decode(), _code(node), doc)
    return None


def _type(node, doc, template):
    body = node.child_by_field_name("body")
    name = node.child_by_field_name("name")
    if body is None or name is None:
        return None
    kind = TYPES[node.type]
    if kind == "enum":
        entity = Entity(kind, name.text.decode(), _code(node, body), doc)
        for each, value in _documented(body):
            if value.type == "enumerator":
                entity.members.append(Entity("value", value.child_by_field_name("name").text.decode(), _code(value) + ",", each))
        return entity
    entity = Entity(kind, name.text.decode(), template + _code(node, body), doc)
    clause = next((child for child in node.named_children if child.type == "base_class_clause"), None)
    if clause:
        entity.bases = [_code(each) for each in clause.named_children if each.type not in ("access_specifier", "virtual")]
    visible = kind != "class"
    for each, child in _documented(body):
        if child.type == "access_specifier":
            visible = child.text == b"public"
        elif visible:
            member = _entity(child, each)
            if member:
                entity.members.append(member)
    return entity


def _function(node, doc, template):
    if any(child.type in ("default_method_clause", "delete_method_clause") for child in node.named_children):
        return None
    ends = ("compound_statement", "field_initializer_list", "try_statement", "constructor_try_statement")
    end = next((child for child in node.named_children if child.type in ends), None)
    code = re.sub(r"\s*\btry$", "", _code(node, end)) + ";"
    name = _name(node.child_by_field_name("declarator"))
    return None if name.startswith("~") else Entity("function", name, template + code, doc)


# ---- From entities to Markdown ----

def text_of(doc):
    """A comment as Markdown for the site: < is no HTML, a[l](h) no link."""
    lines = []
    for line in doc.split("\n"):
        if not line.startswith("    "):
            parts = re.split(r"(`[^`]*`)", line)
            line = "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*").replace("](", "]\\(") for part in parts)
        lines.append(line)
    return for_site("\n".join(lines)).strip()


def first_sentence(header):
    """What the header is for: the first sentence about what has the file's name, or else about the first of its public parts."""
    named = header.path.rpartition("/")[2].removesuffix(".hpp").replace("_", "")
    said = [entity for entity in header.entities if entity.doc and "detail::" not in entity.name]
    said.sort(key=lambda entity: entity.name.rpartition("::")[2].replace("_", "").lower() != named)
    sentence = " ".join((said[0].doc if said else header.intro).strip().split("\n\n")[0].split())
    for end in ".;:":  # the longer ones end earlier
        if end == "." or len(sentence) > 160:
            sentence = re.split(rf"(?<=\{end})\s", sentence)[0]
    return text_of(sentence.rstrip(";:"))


def page(header, bases):
    """The page of a header; `bases` has the private classes that public ones inherit from, by name."""
    path = header.path.removeprefix("creditlib/")
    return "\n\n".join([f"# {path}", f"```cpp\n#include <{header.path}>\n```", *body(header, bases, 2)]) + "\n"


def body(header, bases, level):
    out = [text_of(header.intro)] if header.intro else []
    shown = [entity for entity in header.entities if "detail::" not in entity.name]
    names = [entity.name for entity in shown]
    for at, entity in enumerate(shown):
        if at == 0 or names[at - 1] != entity.name:  # overloads stand under one heading
            out.append(f"{'#' * level} {entity.name}")
        out += _rendered(entity, bases, level)
    return out


def _rendered(entity, bases, level):
    out = [text_of(entity.doc)] if entity.doc else []
    out.append(f"```cpp\n{_overview(entity)}\n```")
    out += _members(entity.members)
    inherited = [bases[name] for name in map(_base_name, entity.bases) if name in bases]
    for base in inherited:
        out.append(f"**From {base.name.rpartition('::')[2]}**, which it is derived from:")
        out.append("```cpp\n" + "\n".join(_broken(member.code) for member in base.members if _is_callable(base, member)) + "\n```")
        out += _members([member for member in base.members if _is_callable(base, member)])
    for nested in entity.members:
        if nested.kind in ("struct", "class", "enum"):
            out.append(f"{'#' * (level + 1)} {entity.name}::{nested.name}")
            out += _rendered(nested, bases, level + 1)
    return out


def _is_callable(base, member):
    return member.name != base.name.rpartition("::")[2]  # no constructors


def _base_name(base):
    return re.sub(r"<.*", "", base).rpartition("::")[2]


def _overview(entity):
    if not entity.members:
        return _broken(entity.code + ("" if entity.code.endswith(";") else " {};" if entity.kind in ("struct", "class", "enum") else ";"))
    lines = [_broken(f"{entity.code} {{")]
    for member in entity.members:
        nested = member.kind in ("struct", "class", "enum")
        lines.append(_broken(f"{member.kind} {member.name};" if nested else member.code, "  "))
    return "\n".join([*lines, "};"])


def _broken(code, indent=""):
    """A declaration in lines that a page has room for."""
    if "\n" in code:
        return code
    return textwrap.fill(code, 92, initial_indent=indent, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False)


def _members(members):
    """The members with comments, as a list."""
    items = []
    said = [member for member in members if member.doc and member.kind not in ("struct", "class", "enum")]
    count = Counter(member.name for member in said)
    for member in said:
        name = _short(member, count[member.name] > 1)
        lines = text_of(member.doc).split("\n")
        items.append("\n".join([f"- `{name}`: {lines[0]}", *("    " + line if line else "" for line in lines[1:])]))
    return ["\n".join(items)] if items else []


def _short(member, overloaded):
    """What a member is called in the text: an overloaded function with its parameters."""
    if member.kind != "function":
        return member.name
    if not overloaded:
        return member.name + ("()" if member.name[-1].isalnum() else "")
    at = re.search(rf"(?<![\w:]){re.escape(member.name)}\s*\(", member.code)
    if not at:
        return member.name
    depth = 0
    for end in range(at.end() - 1, len(member.code)):
        depth += {"(": 1, ")": -1}.get(member.code[end], 0)
        if depth == 0:
            return member.code[at.start():end + 1]
    return member.name

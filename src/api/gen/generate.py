#!/usr/bin/env python3
"""Turns the API tables (*.types, see README.md) into one C++ file of constant data.

usage: generate.py OUTPUT.cc TABLE...   Tables come in discovery order.
"""
import hashlib
import re
import sys

SCALARS = {
    'string': 'kString', 'int32': 'kInt32', 'int64': 'kInt64', 'double': 'kDouble', 'bool': 'kBool', 'bytes': 'kBytes',
    'time': 'kTime', 'microtime': 'kMicroTime', 'duration': 'kDuration', 'quantity': 'kQuantity',
    'int-or-string': 'kIntOrString', 'any': 'kAny',
}
ALL_VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']
META = 'io.k8s.apimachinery.pkg.apis.meta.v1'


class Table:
    """One file: its package, group and version."""

    def __init__(self, path):
        self.path, self.package, self.group, self.version = path, '', '', ''
        self.short = re.sub(r'.*/|\.types$', '', path)
        self.resources, self.types = [], []


def die(where, text):
    sys.exit('%s: %s' % (where, text))


def words_of(line, where):
    """Splits a line; a trailing "..." is the help text."""
    help_text = ''
    match = re.search(r'\s"([^"]*)"\s*$', line)
    if match:
        help_text, line = match.group(1), line[:match.start()]
    words = line.split()
    if not words:
        die(where, 'nothing but help')
    return words, help_text


def parse_resource(words, where):
    res = {'plural': words[1], 'kind': words[2], 'namespaced': words[3] == 'namespaced', 'singular': words[2].lower(),
           'verbs': [], 'short': [], 'categories': [], 'subs': []}
    if words[3] not in ('namespaced', 'cluster'):
        die(where, 'scope must be namespaced or cluster')
    for word in words[4:]:
        key, _, value = word.partition('=')
        if key not in ('singular', 'verbs', 'short', 'categories'):
            die(where, 'unknown attribute ' + word)
        res[key] = value if key == 'singular' else ALL_VERBS if key == 'verbs' and value == 'all' else value.split(',')
    return res


def parse_sub(words, table):
    parts = words[2].split('/')
    group, version, kind = parts if len(parts) == 3 else (table.group, table.version, parts[0])
    return {'name': words[1], 'group': '' if group == 'core' else group, 'version': version, 'kind': kind,
            'verbs': words[3].split(',')}


def parse_field(words, help_text, where):
    field = {'name': words[0], 'type': words[1], 'proto': [0], 'help': help_text, 'flags': set(), 'default': '',
             'merge_key': '', 'list': 'kAtomic', 'keys': [], 'map': 'kGranular', 'where': where}
    for word in words[2:]:
        key, eq, value = word.partition('=')
        if re.fullmatch(r'[0-9.]+', word):
            field['proto'] = [int(n) for n in word.split('.')]
        elif word in ('required', 'always', 'retainKeys', 'zero', 'merge'):
            field['flags'].add(word)
        elif key == 'merge':
            field['flags'].add('merge')
            field['merge_key'] = value
        elif key == 'default' and eq:
            field['default'] = value
        elif key == 'list' and value == 'set':
            field['list'] = 'kSet'
        elif key == 'list' and value.startswith('map:'):
            field['list'], field['keys'] = 'kMap', value[4:].split(',')
        elif word == 'map=atomic':
            field['map'] = 'kAtomic'
        else:
            die(where, 'unknown attribute ' + word)
    return field


def parse_table(path):
    table, current = Table(path), None
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        where = '%s:%d' % (path, number)
        if not line.strip() or line.startswith('#'):
            continue
        words, help_text = words_of(line.rstrip(), where)
        if line.startswith('  ') and words[0] == 'sub' and isinstance(current, dict) and 'subs' in current:
            current['subs'].append(parse_sub(words, table))
        elif line.startswith('  '):
            current['fields'].append(parse_field(words, help_text, where))
        elif words[0] == 'package':
            table.package = words[1]
        elif words[0] == 'group':
            table.group, table.version = '' if words[1] == 'core' else words[1], words[2]
        elif words[0] == 'resource':
            current = parse_resource(words, where)
            table.resources.append(current)
        elif words[0] in ('type', 'kind'):
            current = {'name': words[1], 'is_kind': words[0] == 'kind', 'atomic': 'atomic' in words[2:], 'fields': [],
                       'help': help_text, 'where': where}
            table.types.append(current)
        else:
            die(where, 'unknown line')
    return table


def add_implied(table):
    """apiVersion and kind of kinds, and the list kinds of resources."""
    known = {t['name'] for t in table.types}
    for res in table.resources:
        name = res['kind'] + 'List'
        if 'list' in res['verbs'] and name not in known:
            fields = [parse_field(['items', '[]' + res['kind'], '2', 'required', 'always'], 'The objects.', table.path),
                      parse_field(['metadata', 'ListMeta', '1', 'always'], '', table.path)]
            table.types.append({'name': name, 'is_kind': True, 'atomic': False, 'fields': fields, 'where': table.path,
                                'help': 'A list of %s.' % res['plural']})
    for typ in table.types:
        if typ['is_kind']:
            for name, text in (('apiVersion', 'Version of the API that the object is written in.'),
                               ('kind', 'What the object is.')):
                typ['fields'].append(parse_field([name, 'string'], text, typ['where']))
        typ['fields'].sort(key=lambda f: f['name'].encode())
        typ['full'] = table.package + '.' + typ['name']


class Writer:
    """Collects deduplicated arrays and writes them."""

    def __init__(self, tables):
        self.tables = tables
        self.packages = {t.short: t.package for t in tables}
        self.types = sorted((t for table in tables for t in table.types), key=lambda t: t['full'].encode())
        self.index = {t['full']: i for i, t in enumerate(self.types)}
        self.lists, self.list_index = [], {}
        self.items, self.item_index = [], {}
        self.extras, self.extra_index = [], {}
        self.fields = []

    @staticmethod
    def text(value):
        return '"%s"sv' % value.replace('\\', '\\\\').replace('"', '\\"') if value else '{}'

    def span(self, values):
        """A span over shared strings."""
        if not values:
            return '{}'
        key = tuple(values)
        if key not in self.list_index:
            self.list_index[key] = sum(len(v) for v in self.lists)
            self.lists.append(key)
        return '{kStrings + %d, %d}' % (self.list_index[key], len(key))

    def resolve(self, name, package, where):
        if '.' in name:
            prefix, _, last = name.rpartition('.')
            full = self.packages.get(prefix, '?') + '.' + last
        else:
            full = package + '.' + name
            if full not in self.index:
                full = META + '.' + name
        if full not in self.index:
            die(where, 'no type ' + name)
        return self.index[full]

    def shape(self, name, package, where):
        """(kind, type pointer, item pointer) of a type expression."""
        if name in SCALARS:
            return SCALARS[name], 'nullptr', 'nullptr'
        for prefix, suffix, kind in (('[]', '', 'kList'), ('map[', ']', 'kMap')):
            if name.startswith(prefix):
                inner = self.shape(name[len(prefix):len(name) - len(suffix)], package, where)
                if inner not in self.item_index:
                    self.item_index[inner] = len(self.items)
                    self.items.append(inner)
                return kind, 'nullptr', 'kItems + %d' % self.item_index[inner]
        return 'kObject', 'kTypes + %d' % self.resolve(name, package, where), 'nullptr'

    def extra(self, field):
        row = '{%s, %s, %s, %s}' % (self.text(field['default']), self.text(field['merge_key']), self.span(field['keys']),
                                    self.text(field['help']))
        if row == '{{}, {}, {}, {}}':
            return 'nullptr'
        if row not in self.extra_index:
            self.extra_index[row] = len(self.extras)
            self.extras.append(row)
        return 'kExtras + %d' % self.extra_index[row]

    def field(self, field, package):
        kind, typ, item = self.shape(field['type'], package, field['where'])
        outer = (field['proto'][:-1] + [0, 0])[:2]
        flags = ', '.join('true' if f in field['flags'] else 'false'
                          for f in ('required', 'always', 'merge', 'retainKeys', 'zero'))
        return '{%s, %s, %s, %s, %d, {%d, %d}, K::%s, %s, ListType::%s, MapType::%s},' % (
            self.text(field['name']), typ, item, self.extra(field), field['proto'][-1], outer[0], outer[1], kind, flags,
            field['list'], field['map'])

    def type_rows(self):
        where = {id(t): table for table in self.tables for t in table.types}
        rows = []
        for typ in self.types:
            table = where[id(typ)]
            names = [f['name'] for f in typ['fields']]
            if len(set(names)) != len(names):
                die(typ['where'], 'a field twice')
            first = len(self.fields)
            self.fields += [self.field(f, table.package) for f in typ['fields']]
            rows.append('{%s, %s, {kFields + %d, %d}, %s, %s, %s, %s, MapType::%s, false},' % (
                self.text(typ['full']), self.text(typ['name']), first, len(typ['fields']), self.text(table.group),
                self.text(table.version), self.text(typ['name'] if typ['is_kind'] else ''), self.text(typ['help']),
                'kAtomic' if typ['atomic'] else 'kGranular'))
        return rows

    def resource_rows(self):
        subs, rows = [], []
        for table in self.tables:
            for res in table.resources:
                first = len(subs)
                for sub in res['subs']:
                    subs.append('{%s, %s, %s, %s, %s},' % (self.text(sub['name']), self.text(sub['group']),
                                                         self.text(sub['version']), self.text(sub['kind']),
                                                         self.span(sub['verbs'])))
                rows.append('{%s, %s, %s, %s, %s, %s, %s, %s, %s, {kSubresources + %d, %d}, kTypes + %d},' % (
                    self.text(table.group), self.text(table.version), self.text(res['plural']), self.text(res['singular']),
                    self.text(res['kind']), 'true' if res['namespaced'] else 'false', self.span(res['verbs']),
                    self.span(res['short']), self.span(res['categories']), first, len(res['subs']),
                    self.resolve(res['kind'], table.package, table.path)))
        return subs, rows

    def write(self, path, digest):
        types, (subs, resources) = self.type_rows(), self.resource_rows()
        items = ['{{}, %s, %s, nullptr, 0, {0, 0}, K::%s, false, false, false, false, false, ListType::kAtomic, '
                 'MapType::kGranular},' % (typ, item, kind) for kind, typ, item in self.items]
        strings = [self.text(v) + ',' for values in self.lists for v in values]
        arrays = (('std::string_view', 'kStrings', strings), ('FieldExtra', 'kExtras', [e + ',' for e in self.extras]),
                  ('Field', 'kItems', items), ('Field', 'kFields', self.fields), ('Type', 'kTypes', types),
                  ('Subresource', 'kSubresources', subs), ('Resource', 'kResources', resources))
        out = ['// Generated by generate.py from the *.types tables. Do not edit.', '#include "api/tables.h"', '',
               'namespace brume::api::tables {', 'using namespace std::literals;', 'using K = Kind;', '']
        out += ['extern const %s %s[%d];' % (ctype, name, len(rows)) for ctype, name, rows in arrays]
        for ctype, name, rows in arrays:
            out += ['', 'constinit const %s %s[%d] = {' % (ctype, name, len(rows))] + rows + ['};']
        out += ['', 'constinit const std::span<const Type> kAllTypes = kTypes;',
                'constinit const std::span<const Resource> kAllResources = kResources;',
                'constinit const std::string_view kFingerprint = "%s";' % digest, '',
                '}  // namespace brume::api::tables', '']
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(out))


def main():
    tables = [parse_table(path) for path in sys.argv[2:]]
    for table in tables:
        add_implied(table)
    digest = hashlib.sha256(b''.join(open(path, 'rb').read() for path in sys.argv[2:])).hexdigest()[:32]
    Writer(tables).write(sys.argv[1], digest)


main()

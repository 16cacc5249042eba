//! How a component is put together: what each index in it stands for, and which core functions its functions run.
//!
//! Every index space that functions pass through is counted exactly; what is in a place may be unknown, and then nothing
//! that comes from there is bounded. A nested component is read anew for each of its instances, with what the instance is
//! given, so that whatever differs between instances is told apart.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    ops::Range,
};

use wasmparser::{
    CanonicalFunction, CanonicalOption, Chunk, ComponentAlias, ComponentExport, ComponentExternalKind,
    ComponentInstance, ComponentOuterAliasKind, Export, ExternalKind, Instance, InstantiationArg, Parser,
    Payload,
};

use super::{
    Cost, Names,
    code::{Bound, Code, CoreFunction, CoreInstance, Functions},
};

/// So deep may components be nested whose instances are looked into. Those of interfaces are at the first level.
const DEPTH_MAX: u32 = 4;
/// So many instances of nested components are looked into. Each interface has one.
const INSTANCES_MAX: u32 = 256;

/// The functions that `component` exports and that are bounded; none if it is not understood.
pub(super) fn bounded(component: &[u8]) -> Option<Names> {
    let mut assembly = Assembly::new(component);
    let whole = Nested {
        parser: Parser::new(0),
        range: 0..component.len(),
    };
    let exports = assembly.read(&whole, &Items::new(), 0)?;
    let mut names = Names::new();
    for (name, item) in exports {
        if let Item::Instance(instance) = item {
            for (function, item) in assembly.instances.get(instance)?.clone() {
                // One instance may be exported again and again, with all the names of its functions.
                assembly.code.look_at(1 + name.len() + function.len())?;
                if let Some(cost) = assembly.cost(item) {
                    names.insert((Some(name.to_owned()), function.to_owned()), cost);
                }
            }
        } else if let Some(cost) = assembly.cost(item) {
            names.insert((None, name.to_owned()), cost);
        }
    }
    Some(names)
}

/// What stands in a place of an index space: where in [`Assembly`] it is described, if it is known.
#[derive(Clone, Copy)]
enum Item {
    Unknown,
    Function(usize),
    Instance(usize),
    Component(usize),
    Module(usize),
}

/// What a component or an instance is given or exports, by name; in order, so that the answer is the same each time.
type Items<'a> = BTreeMap<&'a str, Item>;

/// A component in a component.
#[derive(Clone)]
struct Nested {
    parser: Parser,
    range: Range<usize>,
}

/// A function that is made of core functions.
struct Lifted<'a> {
    /// Those that a call runs.
    runs: Vec<CoreFunction<'a>>,
    /// The one that makes room for arguments.
    allocator: Option<CoreFunction<'a>>,
}

/// All that was found in a component and those that are nested in it.
struct Assembly<'a> {
    bytes: &'a [u8],
    code: Code<'a>,
    functions: Vec<Lifted<'a>>,
    /// What each instance exports.
    instances: Vec<Items<'a>>,
    components: Vec<Nested>,
    /// The modules that were read already, by where they begin.
    modules: HashMap<usize, usize>,
    /// How many nested components were instantiated.
    instantiated: u32,
}

/// The index spaces of one instance of a component. Those of types, values, tables, memories and the like are of no
/// concern: nothing here is looked up in them.
#[derive(Default)]
struct Spaces<'a> {
    functions: Vec<Item>,
    instances: Vec<Item>,
    components: Vec<Item>,
    modules: Vec<Item>,
    core_functions: Vec<CoreFunction<'a>>,
    core_instances: Vec<usize>,
}

impl Spaces<'_> {
    fn of(&mut self, kind: ComponentExternalKind) -> Option<&mut Vec<Item>> {
        match kind {
            ComponentExternalKind::Func => Some(&mut self.functions),
            ComponentExternalKind::Instance => Some(&mut self.instances),
            ComponentExternalKind::Component => Some(&mut self.components),
            ComponentExternalKind::Module => Some(&mut self.modules),
            ComponentExternalKind::Value | ComponentExternalKind::Type => None,
        }
    }

    fn add(&mut self, kind: ComponentExternalKind, item: Item) {
        if let Some(space) = self.of(kind) {
            space.push(item);
        }
    }

    fn get(&mut self, kind: ComponentExternalKind, index: u32) -> Option<Item> {
        match self.of(kind) {
            Some(space) => space.get(index as usize).copied(),
            None => Some(Item::Unknown),
        }
    }

    /// What `exports` name.
    fn items<'a>(&mut self, exports: &[ComponentExport<'a>]) -> Option<Items<'a>> {
        exports
            .iter()
            .map(|export| Some((export.name.name, self.get(export.kind, export.index)?)))
            .collect()
    }
}

impl<'a> Assembly<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            code: Code::new(),
            functions: Vec::new(),
            instances: Vec::new(),
            components: Vec::new(),
            modules: HashMap::new(),
            instantiated: 0,
        }
    }

    /// What `item` costs, if it is a function that is bounded.
    fn cost(&mut self, item: Item) -> Option<Cost> {
        let Item::Function(function) = item else {
            return None;
        };
        let Lifted { runs, allocator } = self.functions.get(function)?;
        let mut call = Bound::of(0);
        for function in runs {
            call = call.and(self.code.bound_of(*function)?)?;
        }
        let allocation = allocator.and_then(|function| self.code.bound_of(function));
        Some(Cost {
            call: call.cost,
            allocation: allocation.map(|bound| bound.cost),
            has_dead_ends: call.has_dead_ends || allocation.is_some_and(|bound| bound.has_dead_ends),
        })
    }

    /// What an instance of `component` exports that is given `arguments`.
    fn read(&mut self, component: &Nested, arguments: &Items<'a>, depth: u32) -> Option<Items<'a>> {
        let mut spaces = Spaces::default();
        let mut exports = Items::new();
        let mut parser = component.parser.clone();
        let mut rest = self.bytes.get(component.range.clone())?;
        loop {
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true).ok()? else {
                return None;
            };
            rest = rest.get(consumed..)?;
            self.code.look_at(1)?;
            match payload {
                Payload::ModuleSection {
                    parser,
                    unchecked_range: range,
                } => {
                    rest = self.bytes.get(range.end..component.range.end)?;
                    spaces.modules.push(self.module(parser, range)?);
                }
                Payload::ComponentSection {
                    parser,
                    unchecked_range: range,
                } => {
                    rest = self.bytes.get(range.end..component.range.end)?;
                    spaces.components.push(Item::Component(self.components.len()));
                    self.components.push(Nested { parser, range });
                }
                Payload::InstanceSection(section) => {
                    for instance in section {
                        self.code.look_at(1)?;
                        self.core_instance(&mut spaces, &instance.ok()?)?;
                    }
                }
                Payload::ComponentInstanceSection(section) => {
                    for instance in section {
                        self.code.look_at(1)?;
                        self.instance(&mut spaces, &instance.ok()?, depth)?;
                    }
                }
                Payload::ComponentAliasSection(section) => {
                    for alias in section {
                        self.code.look_at(1)?;
                        self.alias(&mut spaces, &alias.ok()?)?;
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        self.code.look_at(1)?;
                        self.canonical(&mut spaces, &function.ok()?)?;
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        self.code.look_at(1)?;
                        let import = import.ok()?;
                        let argument = arguments.get(import.name.name).copied();
                        spaces.add(import.ty.kind(), argument.unwrap_or(Item::Unknown));
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        self.code.look_at(1)?;
                        let export = export.ok()?;
                        // It is in its index space once more from here on.
                        let item = spaces.get(export.kind, export.index)?;
                        spaces.add(export.kind, item);
                        exports.insert(export.name.name, item);
                    }
                }
                Payload::End(_) => return Some(exports),
                Payload::Version { .. }
                | Payload::CustomSection(_)
                | Payload::CoreTypeSection(_)
                | Payload::ComponentTypeSection(_) => {}
                _ => return None,
            }
        }
    }

    fn module(&mut self, parser: Parser, range: Range<usize>) -> Option<Item> {
        Some(Item::Module(match self.modules.entry(range.start) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let functions = Functions::read(parser, self.bytes.get(range)?)?;
                *place.insert(self.code.add_module(functions))
            }
        }))
    }

    fn core_instance(&mut self, spaces: &mut Spaces<'a>, instance: &Instance<'a>) -> Option<()> {
        let instance = match instance {
            Instance::Instantiate { module_index, args } => {
                self.code.look_at(args.len())?;
                let argument = |arg: &InstantiationArg<'a>| {
                    let instance = spaces.core_instances.get(arg.index as usize)?;
                    Some((arg.name, *instance))
                };
                let arguments = args.iter().map(argument).collect::<Option<_>>()?;
                if let Item::Module(module) = *spaces.modules.get(*module_index as usize)? {
                    CoreInstance::OfModule { module, arguments }
                } else {
                    CoreInstance::Unknown
                }
            }
            Instance::FromExports(exports) => {
                self.code.look_at(exports.len())?;
                let functions = exports.iter().filter(|export| is_function(export.kind));
                let function = |export: &Export<'a>| {
                    let function = spaces.core_functions.get(export.index as usize)?;
                    Some((export.name, *function))
                };
                CoreInstance::OfFunctions(functions.map(function).collect::<Option<_>>()?)
            }
        };
        spaces.core_instances.push(self.code.add_instance(instance));
        Some(())
    }

    fn instance(
        &mut self,
        spaces: &mut Spaces<'a>,
        instance: &ComponentInstance<'a>,
        depth: u32,
    ) -> Option<()> {
        let exports = match instance {
            ComponentInstance::Instantiate {
                component_index,
                args,
            } => {
                self.code.look_at(args.len())?;
                let mut arguments = Items::new();
                for arg in args {
                    arguments.insert(arg.name, spaces.get(arg.kind, arg.index)?);
                }
                if let Item::Component(component) = *spaces.components.get(*component_index as usize)?
                    && depth < DEPTH_MAX
                    && self.instantiated < INSTANCES_MAX
                {
                    self.instantiated += 1;
                    let component = self.components.get(component)?.clone();
                    self.read(&component, &arguments, depth + 1)?
                } else {
                    // Whatever it exports is not known.
                    Items::new()
                }
            }
            ComponentInstance::FromExports(exports) => {
                self.code.look_at(exports.len())?;
                spaces.items(exports)?
            }
        };
        spaces.instances.push(Item::Instance(self.instances.len()));
        self.instances.push(exports);
        Some(())
    }

    fn alias(&mut self, spaces: &mut Spaces<'a>, alias: &ComponentAlias<'a>) -> Option<()> {
        match alias {
            ComponentAlias::CoreInstanceExport {
                kind,
                instance_index,
                name,
            } => {
                if is_function(*kind) {
                    let instance = *spaces.core_instances.get(*instance_index as usize)?;
                    spaces.core_functions.push(self.code.export(instance, name));
                }
            }
            ComponentAlias::InstanceExport {
                kind,
                instance_index,
                name,
            } => {
                let item =
                    if let Item::Instance(instance) = *spaces.instances.get(*instance_index as usize)? {
                        self.instances.get(instance)?.get(name).copied()
                    } else {
                        None
                    };
                spaces.add(*kind, item.unwrap_or(Item::Unknown));
            }
            ComponentAlias::Outer { kind, .. } => match kind {
                ComponentOuterAliasKind::CoreModule => spaces.modules.push(Item::Unknown),
                ComponentOuterAliasKind::Component => spaces.components.push(Item::Unknown),
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            },
        }
        Some(())
    }

    fn canonical(&mut self, spaces: &mut Spaces<'a>, function: &CanonicalFunction) -> Option<()> {
        if let CanonicalFunction::Lift {
            core_func_index,
            options,
            ..
        } = function
        {
            let item = self.lifted(spaces, *core_func_index, options)?;
            spaces.functions.push(item);
            return Some(());
        }
        // All others make core functions. Those that make a handle or follow one look into a table; the one that drops a
        // handle is not among them, since it runs a destructor.
        let is_short = matches!(
            function,
            CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. }
        );
        spaces.core_functions.push(if is_short {
            CoreFunction::Short
        } else {
            CoreFunction::Unknown
        });
        Some(())
    }

    /// A function that is made of a core function.
    fn lifted(&mut self, spaces: &Spaces<'a>, index: u32, options: &[CanonicalOption]) -> Option<Item> {
        let core_function = |index: u32| spaces.core_functions.get(index as usize).copied();
        self.code.look_at(options.len())?;
        let mut runs = vec![core_function(index)?];
        let mut allocator = None;
        for option in options {
            match option {
                CanonicalOption::PostReturn(index) => runs.push(core_function(*index)?),
                CanonicalOption::Realloc(index) => allocator = Some(core_function(*index)?),
                CanonicalOption::Memory(_)
                | CanonicalOption::UTF8
                | CanonicalOption::UTF16
                | CanonicalOption::CompactUTF16 => {}
                CanonicalOption::Async
                | CanonicalOption::Callback(_)
                | CanonicalOption::CoreType(_)
                | CanonicalOption::Gc => return Some(Item::Unknown),
            }
        }
        self.functions.push(Lifted { runs, allocator });
        Some(Item::Function(self.functions.len() - 1))
    }
}

fn is_function(kind: ExternalKind) -> bool {
    matches!(kind, ExternalKind::Func | ExternalKind::FuncExact)
}

-- Runs once in every fresh state, on the table of safe globals: wraps what could block a thread or hide code.
local globals = ...
local error, type, rawget, rawlen, getmetatable = error, type, rawget, rawlen, getmetatable
local string, table = globals.string, globals.table

-- A length that a metamethod makes up may be astronomic, and loops over it are written in C.
local LENGTH_MAX <const> = 1 << 24

string.dump = nil
getmetatable("").__metatable = "string"

local setmetatable = globals.setmetatable
function globals.setmetatable(object, metatable)
    if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
        error("`__gc` is not available: use `local x <close>` and `__close`", 2)
    end
    return setmetatable(object, metatable)
end

local rep = string.rep
function string.rep(text, count, separator)
    if text == "" and (separator == nil or separator == "") then
        return ""
    end
    return rep(text, count, separator)
end

local move = table.move
function table.move(from, first, last, at, to)
    if type(first) == "number" and type(last) == "number" and last - first > LENGTH_MAX then
        error("too many elements to move", 2)
    end
    return move(from, first, last, at, to)
end

for _, name in next, { "concat", "insert", "remove", "sort", "unpack" } do
    local original = table[name]
    table[name] = function(list, ...)
        if type(list) == "table" and getmetatable(list) ~= nil then
            local length = #list
            if type(length) == "number" and length > LENGTH_MAX and length > rawlen(list) then
                error("the table claims to be too long", 2)
            end
        end
        return original(list, ...)
    end
end

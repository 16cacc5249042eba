-- Runs once in every fresh state, on the table of safe globals: wraps what could block a thread or hide code.
local globals = ...
local error, type, getmetatable = error, type, getmetatable
local string, table = globals.string, globals.table

-- Loops over what is to be moved are written in C.
local LENGTH_MAX <const> = 1 << 24

string.dump = nil
getmetatable("").__metatable = "string"

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

-- Runs once in every fresh state, on the table of safe globals: wraps what could block a thread or hide code.
local globals, is_quick = ...
local error, type, tostring, getmetatable = error, type, tostring, getmetatable
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

-- Matching is written in C too, and may go back and forth for ever. What is short cannot; of what may, it is found out
-- first whether it does. How often a pattern lets a text be divided says how bad it can get.
local QUICK <const> = 1 << 22
local KNOWN_MAX <const> = 500
local gsub = string.gsub
local divisions, known = {}, 0

local function divided(pattern)
    local count = divisions[pattern]
    if not count then
        local _, repeats = gsub(pattern, "[*+?-]", "")
        local _, balances = gsub(pattern, "%%b", "")
        count = repeats + balances + 1
        if known >= KNOWN_MAX then
            divisions, known = {}, 0
        end
        divisions[pattern], known = count, known + 1
    end
    return count
end

for _, name in globals.ipairs({ "find", "match", "gmatch", "gsub" }) do
    local search = string[name]
    string[name] = function(text, pattern, third, plain)
        if type(text) == "number" then
            text = tostring(text)
        end
        if type(text) == "string" and type(pattern) == "string" then
            local length, size = #text, #pattern
            local is_short = size <= 6 and length <= 200
            if not is_short and length ^ divided(pattern) * size > QUICK
                and not is_quick(name, text, pattern, third, plain)
            then
                error("this pattern takes too long on a text of " .. length .. " bytes", 2)
            end
        end
        return search(text, pattern, third, plain)
    end
end

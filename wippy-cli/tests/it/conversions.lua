-- The script that runs the cases: it sends each value to the guest and writes down what came back, as text that reads
-- as Lua again. Floats are not mistaken for integers, and keys are sorted.
local funcs = require("funcs")

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }
-- More than this is told by its size.
local ELEMENTS_MAX, BYTES_MAX = 40, 80

local function quoted(text)
    if #text > BYTES_MAX then
        return ("%s… (%d bytes)"):format(quoted(text:sub(1, 8)), #text)
    end
    local escaped = text:gsub('[%c\\"]', function(c)
        return ESCAPES[c] or ("\\x%02X"):format(c:byte())
    end)
    if utf8.len(escaped) then
        return '"' .. escaped:gsub(utf8.charpattern, function(c)
            return #c > 1 and ("\\u{%X}"):format(utf8.codepoint(c)) or c
        end) .. '"'
    end
    return '"' .. escaped:gsub("[\x80-\xFF]", function(c)
        return ("\\x%02X"):format(c:byte())
    end) .. '"'
end

local function number(value)
    if math.type(value) == "integer" or value ~= value then
        return value == value and tostring(value) or "nan"
    end
    if value == math.huge or value == -math.huge then
        return value > 0 and "inf" or "-inf"
    end
    local text
    for precision = 1, 17 do
        text = ("%%.%dg"):format(precision):format(value)
        if tonumber(text) == value then
            break
        end
    end
    return text:find("[.e]") and text or text .. ".0"
end

local show

local function entries(value)
    local parts, length = {}, math.tointeger(rawget(value, "n")) or rawlen(value)
    for index = 1, math.min(length, ELEMENTS_MAX) do
        parts[#parts + 1] = show(rawget(value, index))
    end
    if length > ELEMENTS_MAX then
        parts = { parts[1], parts[2], parts[3], ("… (%d elements)"):format(length) }
    end
    local named = {}
    for key, part in next, value do
        local is_element = math.type(key) == "integer" and key >= 1 and key <= length
        if not is_element then
            local is_name = type(key) == "string" and key:find("^[%a_][%w_]*$") and key ~= "nil" and key ~= "end"
            local name = is_name and key or "[" .. show(key) .. "]"
            named[#named + 1] = name .. " = " .. show(part)
        end
    end
    table.sort(named)
    table.move(named, 1, #named, #parts + 1, parts)
    return parts
end

function show(value)
    local kind = type(value)
    if kind == "number" then
        return number(value)
    elseif kind == "string" then
        return quoted(value)
    elseif kind == "table" then
        return "{" .. table.concat(entries(value), ", ") .. "}"
    elseif kind == "userdata" then
        return ("<%s %s>"):format(getmetatable(value), value)
    elseif kind == "function" or kind == "thread" then
        return "<" .. kind .. ">"
    end
    return tostring(value)
end

local function show_all(values)
    local parts = {}
    for index = 1, values.n do
        parts[index] = show(values[index])
    end
    return table.concat(parts, ", ")
end

-- What becomes of the arguments that `make` gives, with `padding` numbers behind them.
local function outcome(make, padding)
    local sent = table.pack(make())
    local text, refused = funcs.call("test:text", table.unpack(sent, 1, sent.n))
    for index = sent.n + 1, sent.n + padding do
        sent[index] = 0
    end
    local back = table.pack(funcs.call("test:echo", table.unpack(sent, 1, sent.n + padding)))
    if back[2] then
        local error = back[2]
        return {
            text = text,
            refused = refused and refused:message(),
            kind = error:kind(),
            message = error:message(),
            details = error:details() ~= nil and show(error:details()) or nil,
        }
    end
    if padding > 0 then
        back = table.pack(back[1][1])
        return { text = text, back = show_all(back), text_back = funcs.call("test:text", back[1]) }
    end
    return { text = text, back = show_all(back) }
end

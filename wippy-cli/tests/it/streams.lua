-- The script that runs the cases of streams: it calls the method of each and writes down what came back.
local funcs = require("funcs")

-- A channel that is filled and closed before anybody takes anything.
local function of(...)
    local values = table.pack(...)
    local ch = channel.new(values.n)
    for index = 1, values.n do
        ch:send(values[index])
    end
    ch:close()
    return ch
end

-- The same, but nobody closes it before it has been given away.
local function buffered(...)
    local values = table.pack(...)
    local ch = channel.new(values.n)
    for index = 1, values.n do
        ch:send(values[index])
    end
    coroutine.spawn(function()
        ch:close()
    end)
    return ch
end

local problem

-- A channel without room, into which a coroutine sends.
local function later(...)
    local values = table.pack(...)
    local ch = channel.new()
    coroutine.spawn(function()
        for index = 1, values.n do
            local ok, failure = pcall(ch.send, ch, values[index])
            if not ok then
                problem = tostring(failure)
                break
            end
        end
        ch:close()
    end)
    return ch
end

local function call(method, ...)
    return funcs.call("test:" .. method, ...)
end

-- The channel without its first value.
local function after_first(ch)
    ch:receive()
    return ch
end

local function show(value)
    if type(value) == "table" then
        local parts = {}
        for index = 1, #value do
            parts[index] = show(value[index])
        end
        local named = {}
        for key, part in pairs(value) do
            if type(key) == "string" then
                named[#named + 1] = key .. " = " .. show(part)
            end
        end
        table.sort(named)
        table.move(named, 1, #named, #parts + 1, parts)
        return "{" .. table.concat(parts, ", ") .. "}"
    elseif type(value) == "string" then
        return ("%q"):format(value)
    elseif getmetatable(value) ~= "channel" then
        return tostring(value)
    end
    local values = {}
    while true do
        local fine, next_value, ok = pcall(value.receive, value)
        if not fine then
            values[#values + 1] = "failed: " .. tostring(next_value)
            break
        end
        if not ok then
            break
        end
        values[#values + 1] = show(next_value)
    end
    return "channel of " .. (#values == 0 and "nothing" or table.concat(values, ", "))
end

local function outcome(make)
    problem = nil
    local result, failure = call("f", make())
    local text = failure and ("%s %s"):format(failure:kind(), failure:message()) or show(result)
    -- Whether a guest has given its channel away before it meets a value that is refused depends on who runs first.
    text = text:gsub("^channel of failed: ", "INVALID ")
    return problem and text .. "\n    sender: " .. problem or text
end

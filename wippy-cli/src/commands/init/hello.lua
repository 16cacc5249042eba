local funcs = require("funcs")
local io = require("io")

-- What it returns is the exit code of `wippy run hello`.
local function main()
    local words = io.args()
    local sum, err = funcs.call("app:add", tonumber(words[1]) or 20, tonumber(words[2]) or 22)
    if err then
        io.eprint(tostring(err))
        return 1
    end
    io.print("The sum is " .. sum)
    return 0
end

return { main = main }

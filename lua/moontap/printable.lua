-- printable: text as a terminal may get it, and as what others will read on theirs is stored.

--- `value` as text of one line: control characters, those of Latin-1 too, and bytes that are no
--- UTF-8 become question marks.
---@param value any
---@return string
---
---     printable "spike\27[2J" --> "spike?[2J"
return function(value)
  local text = tostring(value):gsub("[%c\127]", "?"):gsub("\xC2[\x80-\x9F]", "?")
  return utf8.len(text) and text or (text:gsub("[\x80-\xFF]", "?"))
end

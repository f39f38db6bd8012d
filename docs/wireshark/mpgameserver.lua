-- Shows the clear header of mpgameserver's datagrams in Wireshark and tshark.
--
--     tshark -X lua_script:mpgameserver.lua -r capture.pcapng -Y mpgameserver
--
-- Datagrams are recognised by their first four bytes, on any port. What is sealed stays sealed:
-- no key is asked for. docs/protocol.md has the format.

local HEADER_SIZE, TAG_SIZE, CRC_SIZE, NUMBER_SIZE = 20, 16, 4, 2
local RECEIVERS = { FSOS = "server", FSOC = "client" }
local TYPES = {
    [1] = "CLIENT_HELLO",
    [2] = "SERVER_HELLO",
    [3] = "CHALLENGE_RESP",
    [4] = "KEEP_ALIVE",
    [5] = "DISCONNECT",
    [6] = "APP",
    [7] = "APP_FRAGMENT",
}

local protocol = Proto("mpgameserver", "mpgameserver datagram")

local f = {
    identifier = ProtoField.string("mpgameserver.identifier", "Identifier"),
    time = ProtoField.absolute_time("mpgameserver.time", "Send time", base.UTC),
    seq = ProtoField.uint16("mpgameserver.seq", "Packet number"),
    ack = ProtoField.uint16("mpgameserver.ack", "Newest packet received"),
    type = ProtoField.uint8("mpgameserver.type", "Type", base.DEC, TYPES),
    length = ProtoField.uint16("mpgameserver.length", "Payload length"),
    count = ProtoField.uint8("mpgameserver.count", "Messages"),
    ack_bits = ProtoField.uint32("mpgameserver.ack_bits", "Ack bits", base.HEX),
    acked = ProtoField.string("mpgameserver.acked", "Acked before that"),
    message_seq = ProtoField.uint16("mpgameserver.message_seq", "Message number"),
    hello = ProtoField.bytes("mpgameserver.hello", "Handshake message"),
    crc = ProtoField.uint32("mpgameserver.crc", "CRC-32", base.HEX),
    sealed = ProtoField.bytes("mpgameserver.sealed", "Sealed payload"),
    tag = ProtoField.bytes("mpgameserver.tag", "AES-GCM tag"),
}
protocol.fields = {
    f.identifier, f.time, f.seq, f.ack, f.type, f.length, f.count, f.ack_bits, f.acked,
    f.message_seq, f.hello, f.crc, f.sealed, f.tag,
}

local bad_size = ProtoExpert.new(
    "mpgameserver.bad_size", "The datagram is not as long as its header says",
    expert.group.MALFORMED, expert.severity.ERROR
)
local bad_type = ProtoExpert.new(
    "mpgameserver.bad_type", "There is no such packet type",
    expert.group.MALFORMED, expert.severity.ERROR
)
protocol.experts = { bad_size, bad_type }

-- Packet numbers live on a ring of 1...65535.
local function before(number, steps)
    return (number - 1 - steps) % 65535 + 1
end

-- The numbers that the ack bits report: bit 31 stands for ack - 1, bit 0 for ack - 32.
local function acked(ack, bits)
    local numbers = {}
    if ack ~= 0 then
        for step = 1, 32 do
            if math.floor(bits / 2 ^ (32 - step)) % 2 == 1 then
                numbers[#numbers + 1] = before(ack, step)
            end
        end
    end
    return table.concat(numbers, " ")
end

local function is_header(tvb, offset)
    return tvb:captured_len() >= offset + HEADER_SIZE and RECEIVERS[tvb(offset, 4):string()] ~= nil
end

local function is_clear(tvb, offset)
    local number = tvb(offset + 12, 1):uint()
    return number == 1 or number == 2
end

-- Where a datagram ends, as its header says.
local function said_end(tvb, offset)
    local trailer = is_clear(tvb, offset) and CRC_SIZE or TAG_SIZE
    return offset + HEADER_SIZE + tvb(offset + 13, 2):uint() + trailer
end

-- Where the datagrams begin. Linux gives a run of them to the network, and takes it from there, as
-- one (UDP_SEGMENT, UDP_GRO), and a capture on that host has it as one long datagram.
local function beginnings(tvb)
    local found, offset = {}, 0
    repeat
        found[#found + 1] = offset
        offset = said_end(tvb, offset)
    until not is_header(tvb, offset)
    return found
end

local function summary(tvb, offset)
    local number = tvb(offset + 12, 1):uint()
    return string.format(
        "%s to %s, seq %d, ack %d, %d messages",
        TYPES[number] or ("type " .. number), RECEIVERS[tvb(offset, 4):string()],
        tvb(offset + 8, 2):uint(), tvb(offset + 10, 2):uint(), tvb(offset + 15, 1):uint()
    )
end

local function dissect_header(tvb, tree)
    tree:add(f.identifier, tvb(0, 4))
    tree:add(f.time, tvb(4, 4))
    tree:add(f.seq, tvb(8, 2))
    tree:add(f.ack, tvb(10, 2))
    local type_item = tree:add(f.type, tvb(12, 1))
    if not TYPES[tvb(12, 1):uint()] then
        type_item:add_proto_expert_info(bad_type)
    end
    tree:add(f.length, tvb(13, 2))
    tree:add(f.count, tvb(15, 1))
    local bits_item = tree:add(f.ack_bits, tvb(16, 4))
    local numbers = acked(tvb(10, 2):uint(), tvb(16, 4):uint())
    bits_item:add(f.acked, tvb(16, 4), numbers):set_generated()
end

local function dissect_body(tvb, offset, tree)
    local length, body = tvb(offset + 13, 2):uint(), offset + HEADER_SIZE
    if is_clear(tvb, offset) then
        if length >= NUMBER_SIZE then
            tree:add(f.message_seq, tvb(body, NUMBER_SIZE))
        end
        if length > NUMBER_SIZE then
            tree:add(f.hello, tvb(body + NUMBER_SIZE, length - NUMBER_SIZE))
        end
        tree:add(f.crc, tvb(body + length, CRC_SIZE))
    else
        if length > 0 then
            tree:add(f.sealed, tvb(body, length))
        end
        tree:add(f.tag, tvb(body + length, TAG_SIZE))
    end
end

-- One of the datagrams; `is_last` when none of the capture follows it.
local function dissect_datagram(tvb, offset, is_last, tree)
    local there, whole, past = tvb:captured_len(), tvb:reported_len(), said_end(tvb, offset)
    local shown = math.min(past, there)
    local subtree = tree:add(
        protocol, tvb(offset, shown - offset), "mpgameserver: " .. summary(tvb, offset)
    )
    dissect_header(tvb(offset, HEADER_SIZE), subtree)
    -- Where the capture has only the beginning, another datagram may follow unseen.
    if past > whole or (is_last and past < whole and there == whole) then
        subtree:add_proto_expert_info(bad_size)
    elseif past <= there then
        dissect_body(tvb, offset, subtree)
    end
end

function protocol.dissector(tvb, pinfo, tree)
    local places = beginnings(tvb)
    local info = summary(tvb, 0)
    if #places > 1 then
        info = string.format("%s, and %d datagrams more", info, #places - 1)
    end
    pinfo.cols.protocol = "mpgameserver"
    pinfo.cols.info = info
    for place, offset in ipairs(places) do
        dissect_datagram(tvb, offset, place == #places, tree)
    end
end

protocol:register_heuristic("udp", function(tvb, pinfo, tree)
    if not is_header(tvb, 0) then
        return false
    end
    protocol.dissector(tvb, pinfo, tree)
    return true
end)

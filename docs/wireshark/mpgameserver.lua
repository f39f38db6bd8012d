-- Shows mpgameserver's datagrams in Wireshark and tshark.
--
--     tshark -X lua_script:mpgameserver.lua -r capture.pcapng -Y mpgameserver
--
-- Headers and handshakes of both protocols; with a key log (-o mpgameserver.keylog_file:keys.txt)
-- all messages and frames. docs/protocol.md and docs/protocol2.md have the formats. Wireshark's Lua
-- has no ciphers, so they are here: SHA-256, AES-128 and GCM, slow but enough to look at packets.
--
-- It runs on the Lua of any Wireshark: 5.1 to 5.4.

local HEADER_SIZE, TAG_SIZE, CRC_SIZE, NUMBER_SIZE = 20, 16, 4, 2
local FILLER_START, OFFER_MAGIC = 101, "MPGOFFER" -- in a hello of version 1
local TAGGED_INTEGERS, TAGGED_BYTES = { [3] = 1, [4] = 2, [5] = 4, [6] = 8 }, 14
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

-- Protocol 2.
local KINDS = {
    [1] = "CLIENT_HELLO2",
    [2] = "RETRY",
    [3] = "SERVER_HELLO2",
    [4] = "STATELESS_RESET",
}
local FORMS = { [1] = "CLIENT_HELLO of version 1", [2] = "CLIENT_HELLO2" }
local CHANNEL_KINDS = { [0] = "unordered", [1] = "ordered", [2] = "sequenced", [3] = "latest" }
local ORDERED = 1
local CODES = {
    [0] = "CLOSED",
    [1] = "PROTOCOL",
    [2] = "CHANNELS",
    [3] = "REFUSED",
    [4] = "TIMEOUT",
    [5] = "FULL",
    [6] = "SHUTDOWN",
    [7] = "WINDOW",
    [8] = "KEYS",
}
local EXTENSIONS = { [1] = "ML-KEM-768", [2] = "idle timeout", [3] = "largest datagram" }

local function add(kind, name, label, ...)
    f[name] = ProtoField[kind]("mpgameserver." .. name, label, ...)
end

add("uint8", "version", "Protocol version")
add("uint8", "kind", "Handshake packet", base.DEC, KINDS)
add("uint8", "routing", "Routing")
add("uint8", "form", "Form of the hello", base.DEC, FORMS)
add("bytes", "client_key", "Client's ephemeral key")
add("bytes", "cookie", "Cookie")
add("bytes", "random", "Random")
add("bytes", "versions", "Versions offered")
add("string", "audience", "Audience")
add("uint16", "extension", "Extension", base.DEC, EXTENSIONS)
add("bytes", "extension_value", "Value")
add("bytes", "root_key", "Server's root key")
add("bytes", "server_key", "Server's ephemeral key")
add("bytes", "connection_id", "Connection id")
add("bytes", "signature", "Signature")
add("bytes", "reset_token", "Stateless reset token")
add("uint8", "key_phase", "Key phase")
add("uint32", "key_updates", "Key updates before this packet")
add("uint64", "number", "Packet number")
add("string", "sender", "Sender")
add("bytes", "frames", "Sealed frames")
add("string", "frame", "Frame")
add("uint8", "frame_type", "Frame type", base.HEX)
add("uint64", "padding", "Bytes of padding")
add("uint64", "newest", "Newest packet received")
add("uint64", "delay", "Delay in microseconds")
add("string", "ranges", "Packets received")
add("uint8", "channel", "Channel")
add("string", "channel_name", "Channel's name")
add("uint8", "channel_kind", "Channel's kind", base.DEC, CHANNEL_KINDS)
add("uint64", "message_number", "Message number")
add("uint64", "total", "Length in all")
add("uint64", "position", "Position in units of 64 bytes")
add("bytes", "message", "Message")
add("bytes", "fragment", "Part of the message")
add("uint64", "highest_number", "Highest number")
add("uint64", "highest_total", "Highest total")
add("uint64", "offset", "Offset")
add("bytes", "piece", "Piece")
add("uint64", "code", "Code")
add("string", "code_name", "Code's name")
add("string", "text", "Text")
add("bytes", "challenge", "Challenge")
add("uint64", "sequence", "Sequence")
add("uint64", "clock", "Sender's clock in microseconds")
add("uint64", "received_at", "Received, in microseconds")
add("uint64", "left_at", "Left, in microseconds")
add("bytes", "reserved", "Reserved frame")
add("bytes", "credential", "Credential")

-- Messages of protocol 1.
add("uint8", "message_type", "Message type", base.DEC, TYPES)
add("uint16", "fragment_of", "Fragmented message")
add("uint16", "fragment_index", "Fragment")
add("uint16", "fragment_count", "Fragments")

protocol.fields = {}
for _, field in pairs(f) do
    protocol.fields[#protocol.fields + 1] = field
end
protocol.prefs.keylog_file = Pref.string(
    "Key log file", "", "The file that MPGAMESERVER_KEYLOG, or an option of the game, has named"
)

local bad_size = ProtoExpert.new(
    "mpgameserver.bad_size", "The datagram is not as long as its header says",
    expert.group.MALFORMED, expert.severity.ERROR
)
local bad_type = ProtoExpert.new(
    "mpgameserver.bad_type", "There is no such packet type",
    expert.group.MALFORMED, expert.severity.ERROR
)
local malformed = ProtoExpert.new(
    "mpgameserver.malformed", "This breaks a rule of docs/protocol2.md",
    expert.group.MALFORMED, expert.severity.ERROR
)
local unopened = ProtoExpert.new(
    "mpgameserver.unopened", "The keys of the session do not open this packet",
    expert.group.UNDECODED, expert.severity.WARN
)
protocol.experts = { bad_size, bad_type, malformed, unopened }

-- Ciphers -----------------------------------------------------------------------------------------

-- Words have 32 bits. Of some libraries they are signed: only bytes of them are compared.
local ops = bit32 or bit or load([[return {
    band = function(a, b) return a & b end,
    bxor = function(a, b, c, d, e)
        return (a ~ b ~ (c or 0) ~ (d or 0) ~ (e or 0)) & 0xffffffff
    end,
    bnot = function(a) return ~a & 0xffffffff end,
    lshift = function(a, n) return a << n & 0xffffffff end,
    rshift = function(a, n) return (a & 0xffffffff) >> n end,
    rrotate = function(a, n)
        a = a & 0xffffffff
        return (a >> n | a << (32 - n)) & 0xffffffff
    end,
}]])()
local band, bxor, bnot, lshift, rshift = ops.band, ops.bxor, ops.bnot, ops.lshift, ops.rshift
local rrotate = ops.rrotate or ops.ror
local char = string.char
local unpack = unpack or table.unpack
local WORD = 4294967296

local function word_at(bytes, place)
    local a, b, c, d = bytes:byte(place, place + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

local function bytes_of(word)
    return char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255),
        band(word, 255))
end

-- SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF-Expand (RFC 5869).

local ROUND_CONSTANTS = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local BLOCK = 64

local function compress(state, block)
    local w = {}
    for i = 1, 16 do
        w[i] = word_at(block, 4 * i - 3)
    end
    for i = 17, 64 do
        local x, y = w[i - 15], w[i - 2]
        local s0 = bxor(rrotate(x, 7), rrotate(x, 18), rshift(x, 3))
        local s1 = bxor(rrotate(y, 17), rrotate(y, 19), rshift(y, 10))
        w[i] = (w[i - 16] + s0 + w[i - 7] + s1) % WORD
    end
    local a, b, c, d, e, g, h, k = unpack(state)
    for i = 1, 64 do
        local s1 = bxor(rrotate(e, 6), rrotate(e, 11), rrotate(e, 25))
        local choice = bxor(band(e, g), band(bnot(e), h))
        local t1 = (k + s1 + choice + ROUND_CONSTANTS[i] + w[i]) % WORD
        local s0 = bxor(rrotate(a, 2), rrotate(a, 13), rrotate(a, 22))
        local majority = bxor(band(a, b), band(a, c), band(b, c))
        k, h, g, e = h, g, e, (d + t1) % WORD
        d, c, b, a = c, b, a, (t1 + s0 + majority) % WORD
    end
    for i, word in ipairs({ a, b, c, d, e, g, h, k }) do
        state[i] = (state[i] + word) % WORD
    end
end

local function sha256(message)
    local state = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
        0x5be0cd19,
    }
    local padding = ("\0"):rep((BLOCK - 9 - #message) % BLOCK)
    local padded = message .. "\128" .. padding .. "\0\0\0\0" .. bytes_of(#message * 8)
    for start = 1, #padded, BLOCK do
        compress(state, padded:sub(start, start + BLOCK - 1))
    end
    local out = {}
    for i, word in ipairs(state) do
        out[i] = bytes_of(word)
    end
    return table.concat(out)
end

local function xored(bytes, value)
    return (bytes:gsub(".", function(each)
        return char(band(bxor(each:byte(), value), 255))
    end))
end

-- `key` is a secret of 32 bytes.
local function hmac(key, message)
    key = key .. ("\0"):rep(BLOCK - #key)
    return sha256(xored(key, 0x5c) .. sha256(xored(key, 0x36) .. message))
end

local function expand(secret, label, size)
    return hmac(secret, label .. "\1"):sub(1, size)
end

-- AES-128 (FIPS 197).

local SBOX, AES_TABLES = {}, { {}, {}, {}, {} }

local function double(value)
    return value < 128 and 2 * value or band(bxor(2 * value, 0x1b), 255)
end

local function make_aes_tables()
    local p, q = 1, 1 -- q is the inverse of p
    repeat
        p = bxor(p, double(p))
        q = bxor(q, 2 * q)
        q = bxor(q, 4 * q)
        q = band(bxor(q, 16 * q), 255)
        if q >= 128 then
            q = bxor(q, 9)
        end
        local turned = q * 257 -- twice, so that shifts are rotations
        local value = bxor(q, rshift(turned, 7), rshift(turned, 6), rshift(turned, 5))
        SBOX[p] = band(bxor(value, rshift(turned, 4), 0x63), 255)
    until p == 1
    SBOX[0] = 0x63
    for value = 0, 255 do
        local s = SBOX[value]
        local word = double(s) * 16777216 + s * 65536 + s * 256 + bxor(double(s), s)
        for i = 1, 4 do
            AES_TABLES[i][value] = rrotate(word, 8 * (i - 1))
        end
    end
end
make_aes_tables()

local function substituted(word)
    return SBOX[rshift(word, 24)] * 16777216 + SBOX[band(rshift(word, 16), 255)] * 65536
        + SBOX[band(rshift(word, 8), 255)] * 256 + SBOX[band(word, 255)]
end

local function aes_key(key)
    local w, constant = {}, 1
    for i = 1, 4 do
        w[i] = word_at(key, 4 * i - 3)
    end
    for i = 5, 44 do
        local word = w[i - 1]
        if i % 4 == 1 then
            word = bxor(substituted(rrotate(word, 24)), constant * 16777216)
            constant = double(constant)
        end
        w[i] = bxor(w[i - 4], word)
    end
    return w
end

local function encrypt(w, a, b, c, d)
    local t1, t2, t3, t4 = AES_TABLES[1], AES_TABLES[2], AES_TABLES[3], AES_TABLES[4]
    a, b, c, d = bxor(a, w[1]), bxor(b, w[2]), bxor(c, w[3]), bxor(d, w[4])
    for i = 5, 37, 4 do
        a, b, c, d =
            bxor(t1[rshift(a, 24)], t2[band(rshift(b, 16), 255)], t3[band(rshift(c, 8), 255)],
                t4[band(d, 255)], w[i]),
            bxor(t1[rshift(b, 24)], t2[band(rshift(c, 16), 255)], t3[band(rshift(d, 8), 255)],
                t4[band(a, 255)], w[i + 1]),
            bxor(t1[rshift(c, 24)], t2[band(rshift(d, 16), 255)], t3[band(rshift(a, 8), 255)],
                t4[band(b, 255)], w[i + 2]),
            bxor(t1[rshift(d, 24)], t2[band(rshift(a, 16), 255)], t3[band(rshift(b, 8), 255)],
                t4[band(c, 255)], w[i + 3])
    end
    local function last(p, q, r, s, key)
        return bxor(SBOX[rshift(p, 24)] * 16777216 + SBOX[band(rshift(q, 16), 255)] * 65536
            + SBOX[band(rshift(r, 8), 255)] * 256 + SBOX[band(s, 255)], key)
    end
    return last(a, b, c, d, w[41]), last(b, c, d, a, w[42]), last(c, d, a, b, w[43]),
        last(d, a, b, c, w[44])
end

local function encrypt_block(w, block)
    return encrypt(w, word_at(block, 1), word_at(block, 5), word_at(block, 9), word_at(block, 13))
end

-- GCM (SP 800-38D) with a table of 256 products, and one of what a shift by a byte reduces to.

local REDUCTIONS = {}
for value = 0, 255 do
    local top, low = 0, value
    for _ = 1, 8 do
        local bit_out = low % 2
        low = math.floor(low / 2)
        top = rshift(top, 1)
        if bit_out == 1 then
            top = bxor(top, 0xe1000000)
        end
    end
    REDUCTIONS[value] = top
end

local function products(a, b, c, d)
    local m = { { [0] = 0 }, { [0] = 0 }, { [0] = 0 }, { [0] = 0 } }
    local value = 128
    while value >= 1 do
        m[1][value], m[2][value], m[3][value], m[4][value] = a, b, c, d
        local odd = band(d, 1)
        d = bxor(rshift(d, 1), lshift(band(c, 1), 31))
        c = bxor(rshift(c, 1), lshift(band(b, 1), 31))
        b = bxor(rshift(b, 1), lshift(band(a, 1), 31))
        a = rshift(a, 1)
        if odd == 1 then
            a = bxor(a, 0xe1000000)
        end
        value = math.floor(value / 2)
    end
    for top = 1, 7 do
        local power = math.floor(2 ^ top)
        for rest = 1, power - 1 do
            for i = 1, 4 do
                m[i][power + rest] = bxor(m[i][power], m[i][rest])
            end
        end
    end
    return m
end

local function gcm_key(key)
    local w = aes_key(key)
    return { words = w, products = products(encrypt(w, 0, 0, 0, 0)) }
end

local function ghash(key, bytes)
    local m1, m2, m3, m4 = unpack(key.products)
    local a, b, c, d = 0, 0, 0, 0
    for start = 1, #bytes, 16 do
        local x = {
            bxor(a, word_at(bytes, start)), bxor(b, word_at(bytes, start + 4)),
            bxor(c, word_at(bytes, start + 8)), bxor(d, word_at(bytes, start + 12)),
        }
        a, b, c, d = 0, 0, 0, 0
        for i = 4, 1, -1 do
            for shift = 0, 24, 8 do
                local value, out = band(rshift(x[i], shift), 255), band(d, 255)
                d = bxor(rshift(d, 8), lshift(band(c, 255), 24), m4[value])
                c = bxor(rshift(c, 8), lshift(band(b, 255), 24), m3[value])
                b = bxor(rshift(b, 8), lshift(band(a, 255), 24), m2[value])
                a = bxor(rshift(a, 8), REDUCTIONS[out], m1[value])
            end
        end
    end
    return a, b, c, d
end

local function filled(bytes)
    return bytes .. ("\0"):rep(-#bytes % 16)
end

-- The words of the IV, with the packet number XORed into its end.
local function nonce_of(iv, number)
    return word_at(iv, 1), bxor(word_at(iv, 5), math.floor(number / WORD)),
        bxor(word_at(iv, 9), number % WORD)
end

local function decrypt(key, n1, n2, n3, sealed)
    local out, counter = {}, 1
    for start = 1, #sealed, 16 do
        counter = counter + 1
        local block = sealed:sub(start, start + 15)
        local whole = filled(block)
        local a, b, c, d = encrypt(key.words, n1, n2, n3, counter)
        local plain = bytes_of(bxor(a, word_at(whole, 1))) .. bytes_of(bxor(b, word_at(whole, 5)))
            .. bytes_of(bxor(c, word_at(whole, 9))) .. bytes_of(bxor(d, word_at(whole, 13)))
        out[#out + 1] = plain:sub(1, #block)
    end
    return table.concat(out)
end

-- The plain text, and under which of the packet numbers `first`, `first` + `step`, ... (`count` of
-- them) the tag is right; nil if under none.
local function open(key, iv, header, sealed, tag, first, step, count)
    local lengths = "\0\0\0\0" .. bytes_of(#header * 8) .. "\0\0\0\0" .. bytes_of(#sealed * 8)
    local a, b, c, d = ghash(key, filled(header) .. filled(sealed) .. lengths)
    local wanted = bytes_of(bxor(a, word_at(tag, 1))) .. bytes_of(bxor(b, word_at(tag, 5)))
        .. bytes_of(bxor(c, word_at(tag, 9))) .. bytes_of(bxor(d, word_at(tag, 13)))
    a, b, c, d = word_at(wanted, 1), word_at(wanted, 5), word_at(wanted, 9), word_at(wanted, 13)
    for i = 0, count - 1 do
        local number = first + i * step
        local n1, n2, n3 = nonce_of(iv, number)
        local p, q, r, s = encrypt(key.words, n1, n2, n3, 1)
        if p % WORD == a and q % WORD == b and r % WORD == c and s % WORD == d then
            return decrypt(key, n1, n2, n3, sealed), number
        end
    end
    return nil
end

-- The key log -------------------------------------------------------------------------------------

local MOST_PHASES = 8 -- updates that a capture may have missed before its first packet
local MOST_GUESSES = 4096 -- packet numbers tried on the first packet of a capture
local MOST_SEARCHES = 4 -- packets that do not open on which much is tried
local MOST_IN_RUN, MOST_IN_DATAGRAM, FIRST_DATAGRAM = 128, 1472, 1200
local NEAR = 4096 -- how far the first number of a run may be from the largest before it
local MOST_SESSIONS_ON_PATH = 8
local MOST_KEYS = 256 -- of protocol 1 that are tried on a path whose SERVER_HELLO was not captured
local LEAST_SEALED = { client = 27, server = 19 }
local ID_SIZE = 8

local logged, log_offset = {}, 0 -- secrets by connection id in hexadecimal, side and phase
local session_keys = { by_salt = {}, in_order = {} } -- those of protocol 1
local sessions, paths, opened, paths_1 = {}, {}, {}, {}

local function forget()
    logged, log_offset = {}, 0
    session_keys = { by_salt = {}, in_order = {} }
    sessions, paths, opened, paths_1 = {}, {}, {}, {}
end
protocol.init = forget
protocol.prefs_changed = forget

local function unhex(digits)
    return (digits:gsub("..", function(pair)
        return char(tonumber(pair, 16))
    end))
end

local function hex(bytes)
    return (bytes:gsub(".", function(each)
        return string.format("%02x", each:byte())
    end))
end

local function take_session_key(salt, key)
    salt = salt:lower()
    if #salt == 32 and #key == 32 and not session_keys.by_salt[salt] then
        local cipher = gcm_key(unhex(key))
        session_keys.by_salt[salt] = cipher
        table.insert(session_keys.in_order, cipher)
    end
end

local function take_line(line)
    local salt, key = line:match("^MPG1_SESSION_KEY (%x+) (%x+)%s*$")
    if salt then
        take_session_key(salt, key)
        return
    end
    local side, phase, id, secret = line:match("^MPG2_(%u+)_TRAFFIC_SECRET_(%d%d?) (%x+) (%x+)%s*$")
    if not side or #id ~= 2 * ID_SIZE or #secret ~= 64 then
        return
    end
    id, side = id:lower(), side:lower()
    if LEAST_SEALED[side] then
        logged[id] = logged[id] or { client = {}, server = {} }
        logged[id][side][tonumber(phase)] = unhex(secret)
    end
end

-- Reads what has been added to the file: it grows while a capture runs.
local function read_key_log()
    local file = protocol.prefs.keylog_file ~= "" and io.open(protocol.prefs.keylog_file, "rb")
    if not file then
        return
    end
    if (file:seek("end") or 0) < log_offset then
        log_offset = 0
    end
    file:seek("set", log_offset)
    local text = file:read("*a") or ""
    file:close()
    text = text:match("^.*\n") or "" -- the last line may be half written
    log_offset = log_offset + #text
    for line in text:gmatch("[^\r\n]+") do
        take_line(line)
    end
end

local function secrets_of(id)
    if not logged[id] then
        read_key_log()
    end
    return logged[id]
end

-- Sessions ----------------------------------------------------------------------------------------

local function new_direction()
    return { largest = 0, phase = 0, phase_start = 0, secrets = {}, keys = {}, run = 0 }
end

local function session_of(id)
    if not sessions[id] then
        sessions[id] = {
            id = id,
            client = new_direction(),
            server = new_direction(),
            channels = {},
            pieces = {},
            searches = MOST_SEARCHES,
        }
    end
    return sessions[id]
end

local function path_of(client, client_port, server, server_port)
    local ends = { tostring(client), client_port, tostring(server), server_port }
    return table.concat(ends, " ")
end

-- A path may have had several sessions, of one port: the newest comes first.
local function note_path(path, session)
    local there = paths[path] or {}
    paths[path] = there
    if there[1] == session then
        return
    end
    for i = #there, 1, -1 do
        if there[i] == session then
            table.remove(there, i)
        end
    end
    table.insert(there, 1, session)
    there[MOST_SESSIONS_ON_PATH + 1] = nil
end

local function secret_of(session, side, phase)
    local direction, known = session[side], secrets_of(session.id)
    if known and known[side][phase] then
        direction.secrets[phase] = known[side][phase]
    elseif not direction.secrets[phase] and phase > 0 then
        local before = secret_of(session, side, phase - 1)
        direction.secrets[phase] = before and expand(before, "next", 32)
    end
    return direction.secrets[phase]
end

local function keys_of(session, side, phase)
    local direction, secret = session[side], secret_of(session, side, phase)
    local keys = direction.keys[phase]
    if secret and not (keys and keys.secret == secret) then
        keys = {
            secret = secret,
            cipher = gcm_key(expand(secret, "key", 16)),
            iv = expand(secret, "iv", 12),
        }
        direction.keys[phase] = keys
    end
    return keys
end

-- The AES key of the masks of a direction, nil if it is not in the key log.
local function mask_of(session, side)
    local direction = session[side]
    if not direction.mask then
        local secret = secret_of(session, side, 0)
        direction.mask = secret and aes_key(expand(secret, "mask", 16))
    end
    return direction.mask
end

-- The header of a packet without its mask: its bytes, key phase, and how long its number is.
local function unmasked(mask, bytes, id_size)
    local a, b = encrypt_block(mask, bytes:sub(-TAG_SIZE))
    local block = bytes_of(a) .. bytes_of(b)
    local first = bxor(bytes:byte(1), band(block:byte(1), 7))
    local size, number = first % 4 + 1, 0
    local out = char(first) .. bytes:sub(2, 1 + id_size)
    for i = 1, size do
        local value = bxor(bytes:byte(1 + id_size + i), block:byte(1 + i))
        out, number = out .. char(value), number * 256 + value
    end
    return out, math.floor(first / 4) % 2, number, size
end

-- The number that is nearest to the one behind the largest (RFC 9000, appendix A.3).
local function whole_number(low, size, largest)
    local span = math.floor(256 ^ size)
    local expected = largest + 1
    local number = expected - expected % span + low
    if number <= expected - span / 2 then
        return number + span
    elseif number > expected + span / 2 and number >= span then
        return number - span
    end
    return number
end

-- The phases under whose keys a packet may open, the likeliest first.
local function phases(direction, bit_of_phase, number)
    local current = direction.phase
    local found
    if current % 2 == bit_of_phase then
        found = { current }
    elseif number < direction.phase_start then
        found = { current - 1, current + 1 }
    else
        found = { current + 1, current - 1 }
    end
    if direction.largest == 0 then
        for phase = bit_of_phase, MOST_PHASES, 2 do
            found[#found + 1] = phase
        end
    end
    return found
end

local function note_opened(direction, phase, number)
    if phase > direction.phase then
        direction.phase, direction.phase_start = phase, number
    elseif phase == direction.phase then
        local start = direction.phase_start
        direction.phase_start = start == 0 and number or math.min(start, number)
    end
    direction.largest = math.max(direction.largest, number)
end

-- Whether a header may be that of the next packet: costs little, and most others are not. With
-- `same_size` its number has to be as long as that of the last one.
local function is_likely(direction, phase_bit, number, size, same_size)
    return phase_bit == direction.phase % 2
        and (size == direction.number_size or not same_size)
        and math.abs(number - direction.largest) <= NEAR
end

-- The packet that is all of `bytes`, or nil. With `guesses` its number may be any of so many, for
-- that of the first packet of a capture is not known. `accepts` may refuse it by its header.
local function open_packet(session, side, bytes, guesses, accepts)
    local mask = mask_of(session, side)
    local id_size = side == "client" and ID_SIZE or 0
    if not mask or #bytes < LEAST_SEALED[side] then
        return nil
    end
    local direction = session[side]
    local header, phase_bit, low, size = unmasked(mask, bytes, id_size)
    local sealed = bytes:sub(#header + 1, -TAG_SIZE - 1)
    if #sealed == 0 then
        return nil
    end
    local number = whole_number(low, size, direction.largest)
    if accepts and not accepts(direction, phase_bit, number, size) then
        return nil
    end
    local count = direction.largest == 0 and guesses or 1
    for _, phase in ipairs(phases(direction, phase_bit, number)) do
        local keys = phase >= 0 and keys_of(session, side, phase)
        if keys then
            local plain, found = open(keys.cipher, keys.iv, header, sealed,
                bytes:sub(-TAG_SIZE), number, math.floor(256 ^ size), count)
            if plain then
                note_opened(direction, phase, found)
                direction.number_size = size
                return {
                    size = #bytes,
                    header_size = #header,
                    phase = phase,
                    number = found,
                    plain = plain,
                }
            end
        end
    end
    return nil
end

-- The packets in `bytes`, if all but the last have `size` bytes; nil if the first does not open.
local function open_run(session, side, bytes, size, guesses, accepts)
    local first = open_packet(session, side, bytes:sub(1, size), guesses, accepts)
    if not first then
        return nil
    end
    local run = { first }
    for start = size + 1, #bytes, size do
        local part = bytes:sub(start, start + size - 1)
        run[#run + 1] = open_packet(session, side, part, 1) or { size = #part }
    end
    session[side].run = size
    session.searches = MOST_SEARCHES
    return run
end

-- The packets of a datagram as it was captured: one, or a run that was handed over as one.
local function open_datagram(session, side, bytes)
    if not mask_of(session, side) then
        return nil
    end
    local is_first = session[side].largest == 0 and session.searches > 0
    local sizes = { #bytes, session[side].run, FIRST_DATAGRAM }
    if #bytes > MOST_IN_DATAGRAM then
        table.remove(sizes, 1) -- sure to be a run
    end
    for _, size in ipairs(sizes) do
        if size > 0 and size <= #bytes then
            local run = open_run(session, side, bytes, size, is_first and MOST_GUESSES or 1)
            if run then
                return run
            end
        end
    end
    if is_first then
        session.searches = session.searches - 1
    end
    return nil
end

-- The same for a run of packets of any size.
local function search_run(session, side, bytes)
    if not mask_of(session, side) or session.searches <= 0 then
        return nil
    end
    local least = math.max(LEAST_SEALED[side], math.ceil(#bytes / MOST_IN_RUN))
    for _, same_size in ipairs({ true, false }) do
        local function accepts(direction, phase_bit, number, size)
            return is_likely(direction, phase_bit, number, size, same_size)
        end
        for size = math.min(#bytes - 1, MOST_IN_DATAGRAM), least, -1 do
            local run = open_run(session, side, bytes, size, 1, accepts)
            if run then
                return run
            end
        end
    end
    session.searches = session.searches - 1
    return nil
end

-- Frames ------------------------------------------------------------------------------------------

local BROKEN = {} -- what parsing raises: never another error

local Reader = {}
Reader.__index = Reader

local function reader(bytes, start)
    return setmetatable({ bytes = bytes, at = start or 1 }, Reader)
end

-- Each of these returns a value, where it begins, counted from 0, and how many bytes it has.
function Reader:take(size)
    local start = self.at
    if size < 0 or size > #self.bytes - start + 1 then
        error(BROKEN)
    end
    self.at = start + size
    return self.bytes:sub(start, start + size - 1), start - 1, size
end

function Reader:uint(size)
    local bytes, start = self:take(size)
    local value = 0
    for i = 1, size do
        value = value * 256 + bytes:byte(i)
    end
    return value, start, size
end

-- A number, which is exact up to 2^53, and for display the same as a UInt64.
function Reader:varint()
    local first, start = self:uint(1)
    local size = math.floor(2 ^ math.floor(first / 64))
    local rest = size > 1 and self:take(size - 1) or ""
    local whole = ("\0"):rep(8 - size) .. char(first % 64) .. rest
    local high, low = word_at(whole, 1), word_at(whole, 5)
    return high * WORD + low, start, size, UInt64.new(low, high)
end

function Reader:rest()
    return self:take(#self.bytes - self.at + 1)
end

function Reader:is_at_end()
    return self.at > #self.bytes
end

local function put(fields, name, start, size, value)
    local entry = { name = name, start = start, size = size, value = value }
    if size > 0 then
        fields[#fields + 1] = entry
    end
    return entry
end

local function read_uint(r, fields, name, size)
    local value, start = r:uint(size)
    put(fields, name, start, size)
    return value
end

local function read_varint(r, fields, name)
    local value, start, size, shown = r:varint()
    put(fields, name, start, size, shown)
    return value
end

local function read_bytes(r, fields, name, size)
    local bytes, start = r:take(size)
    put(fields, name, start, size)
    return bytes
end

-- An extension block: each type has its value below it.
local function read_extensions(r, fields)
    local finish = r:uint(2) + r.at
    while r.at < finish do
        local kind, start = r:uint(2)
        local entry = put(fields, "extension", start, 2, kind)
        entry.below = {}
        read_bytes(r, entry.below, "extension_value", (r:uint(2)))
    end
    if r.at ~= finish then
        error(BROKEN)
    end
end

local function read_offer(r, fields)
    local finish = r:uint(2) + r.at
    read_bytes(r, fields, "random", 32)
    read_bytes(r, fields, "versions", (r:uint(1)))
    read_bytes(r, fields, "audience", (r:uint(1)))
    read_extensions(r, fields)
    if r.at ~= finish then
        error(BROKEN)
    end
end

local function ranges_text(r, newest, more)
    local top = newest
    local low = top - r:varint()
    local found = {}
    for i = 0, more do
        if i > 0 then
            top = low - 2 - r:varint()
            low = top - r:varint()
        end
        if low < 1 then
            error(BROKEN)
        end
        found[#found + 1] = low == top and string.format("%.0f", low)
            or string.format("%.0f-%.0f", low, top)
    end
    return table.concat(found, " ")
end

local function read_ack(r, fields)
    local newest = read_varint(r, fields, "newest")
    read_varint(r, fields, "delay")
    local more = r:varint()
    local start = r.at - 1
    if more > 31 then
        error(BROKEN)
    end
    local text = ranges_text(r, newest, more)
    put(fields, "ranges", start, r.at - 1 - start, text)
end

local function read_piece(r, fields, frame)
    frame.total = read_varint(r, fields, "total")
    frame.offset = read_varint(r, fields, "offset")
    frame.data = read_bytes(r, fields, "piece", (r:varint()))
    if #frame.data == 0 or frame.offset + #frame.data > frame.total or frame.total > 8192 then
        error(BROKEN)
    end
end

local FRAMES = {
    [0] = { "PADDING", function(r, fields)
        local start = r.at - 2
        while r.bytes:byte(r.at) == 0 do
            r.at = r.at + 1
        end
        local size = r.at - 1 - start
        put(fields, "padding", start, size, UInt64.new(size))
    end },
    { "PING", function() end },
    { "ACK", read_ack },
    { "WINDOW", function(r, fields, frame)
        frame.channel = read_uint(r, fields, "channel", 1)
        read_varint(r, fields, "highest_number")
        read_varint(r, fields, "highest_total")
    end },
    { "CONNECT", read_piece },
    { "ACCEPT", read_piece },
    { "CLOSE", function(r, fields, frame)
        local code, start, size, shown = r:varint()
        put(fields, "code", start, size, shown)
        frame.note = CODES[code] or string.format("%.0f", code)
        local name = CODES[code] or (code < 256 and "reserved" or "game's")
        put(fields, "code_name", start, size, name)
        read_bytes(r, fields, "text", (r:varint()))
        if not r:is_at_end() then
            error(BROKEN)
        end
    end },
    { "PATH_CHALLENGE", function(r, fields)
        read_bytes(r, fields, "challenge", 8)
    end },
    { "PATH_RESPONSE", function(r, fields)
        read_bytes(r, fields, "challenge", 8)
    end },
    { "NEW_CONNECTION_ID", function(r, fields, frame)
        read_varint(r, fields, "sequence")
        frame.new_id = read_bytes(r, fields, "connection_id", ID_SIZE)
        read_bytes(r, fields, "reset_token", 16)
    end },
    { "RETIRE_CONNECTION_ID", function(r, fields)
        read_varint(r, fields, "sequence")
    end },
    { "TIME", function(r, fields)
        read_varint(r, fields, "clock")
    end },
    { "TIME_REPLY", function(r, fields)
        read_varint(r, fields, "clock")
        read_varint(r, fields, "received_at")
        read_varint(r, fields, "left_at")
    end },
    { "KEM", read_piece },
}

local function read_message(r, frame)
    local kind, fields = frame.kind, frame.fields
    local is_behind, is_fragment, has_length =
        band(kind, 0x40) ~= 0, band(kind, 0x20) ~= 0, band(kind, 0x10) ~= 0
    frame.name = is_fragment and "FRAGMENT" or "MESSAGE"
    if is_behind then
        frame.channel = read_uint(r, fields, "channel", 1)
    else
        frame.channel = kind % 16
        put(fields, "channel", frame.start, 1, frame.channel)
    end
    if is_behind and (kind % 16 ~= 0 or frame.channel < 16) then
        error(BROKEN)
    end
    read_varint(r, fields, "message_number")
    if is_fragment then
        read_varint(r, fields, "total")
        read_varint(r, fields, "position")
    end
    local size = has_length and r:varint() or #r.bytes - r.at + 1
    read_bytes(r, fields, is_fragment and "fragment" or "message", size)
end

local function read_frame(r, frame)
    local kind = frame.kind
    if FRAMES[kind] then
        frame.name = FRAMES[kind][1]
        FRAMES[kind][2](r, frame.fields, frame)
    elseif kind >= 128 then
        read_message(r, frame)
    elseif kind >= 64 then
        frame.name = "reserved"
        read_bytes(r, frame.fields, "reserved", (r:varint()))
    else
        error(BROKEN)
    end
end

-- Runs a function that reads; false if what it reads breaks a rule.
local function reads(work, ...)
    local is_good, problem = pcall(work, ...)
    if not is_good and problem ~= BROKEN then
        error(problem, 0)
    end
    return is_good
end

-- The frames of a packet; the last one is marked where it breaks a rule.
local function frames_of(plain)
    local r, found = reader(plain), {}
    while not r:is_at_end() do
        local kind, start = r:uint(1)
        local frame = { kind = kind, start = start, name = "invalid", fields = {} }
        found[#found + 1] = frame
        frame.is_broken = not reads(read_frame, r, frame)
        if frame.is_broken then
            r.at = #plain + 1
        end
        frame.size = r.at - 1 - start
    end
    return found
end

-- What a session opens with -----------------------------------------------------------------------

local function read_connect_data(r, fields, session)
    read_bytes(r, fields, "credential", (r:uint(2)))
    for _ = 1, (r:uint(1)) do
        local id, start = r:uint(1)
        local row = put(fields, "channel", start, 1, id)
        row.below = {}
        local kind = read_uint(r, row.below, "channel_kind", 1)
        if kind == ORDERED then
            read_varint(r, row.below, "highest_number")
            read_varint(r, row.below, "highest_total")
        end
        local name = read_bytes(r, row.below, "channel_name", (r:uint(1)))
        session.channels[id] = { kind = kind, name = (name:gsub("[%c\127-\255]", "?")) }
    end
    read_extensions(r, fields)
end

local function read_accept_data(r, fields, session)
    read_bytes(r, fields, "reset_token", 16)
    for id = 1, 255 do
        if session.channels[id] and session.channels[id].kind == ORDERED then
            local row = { name = "channel", start = r.at - 1, value = id, below = {} }
            read_varint(r, row.below, "highest_number")
            read_varint(r, row.below, "highest_total")
            row.size = r.at - 1 - row.start
            fields[#fields + 1] = row
        end
    end
end

local WHOLES = {
    CONNECT = { "Connect data", read_connect_data },
    ACCEPT = { "Accept data", read_accept_data },
}

-- Keeps a piece of CONNECT or ACCEPT; the whole, once it is there.
local function take_piece(session, frame)
    local whole = session.pieces[frame.name] or { size = 0 }
    session.pieces[frame.name] = whole
    if whole.is_known then
        return nil
    end
    whole[frame.offset] = frame.data
    local bytes = ""
    while whole[#bytes] do
        bytes = bytes .. whole[#bytes]
    end
    if #bytes ~= frame.total then
        return nil
    end
    whole.is_known = true
    local title, read = WHOLES[frame.name][1], WHOLES[frame.name][2]
    local fields, r = {}, reader(bytes)
    local is_good = reads(read, r, fields, session) and r:is_at_end()
    return { title = title, bytes = bytes, fields = fields, is_broken = not is_good }
end

-- Learns from a packet what later ones need; what has become whole in it.
local function learn(session, plain)
    local wholes = {}
    for _, frame in ipairs(frames_of(plain)) do
        if not frame.is_broken then
            if WHOLES[frame.name] then
                wholes[#wholes + 1] = take_piece(session, frame)
            elseif frame.new_id then
                sessions[hex(frame.new_id)] = session
            end
        end
    end
    return wholes
end

-- Trees -------------------------------------------------------------------------------------------

local TEXTS = { audience = true, text = true, channel_name = true }

local function add_fields(tree, tvb, base, fields)
    for _, entry in ipairs(fields) do
        local range = tvb(base + entry.start, entry.size)
        local item
        if entry.value ~= nil then
            item = tree:add(f[entry.name], range, entry.value)
        elseif TEXTS[entry.name] then
            item = tree:add_packet_field(f[entry.name], range, ENC_UTF_8)
        else
            item = tree:add(f[entry.name], range)
        end
        if entry.below then
            add_fields(item, tvb, base, entry.below)
        end
    end
end

local function add_whole(tree, whole)
    local tvb = ByteArray.new(whole.bytes, true):tvb(whole.title)
    local subtree = tree:add(tvb(), whole.title)
    add_fields(subtree, tvb, 0, whole.fields)
    if whole.is_broken then
        subtree:add_proto_expert_info(malformed)
    end
end

local function add_frame(tree, tvb, session, frame)
    local item = tree:add(f.frame, tvb(frame.start, frame.size), frame.name)
    item:add(f.frame_type, tvb(frame.start, 1))
    add_fields(item, tvb, 0, frame.fields)
    local channel = frame.channel and session.channels[frame.channel]
    if channel then
        item:add(f.channel_name, tvb(frame.start, frame.size), channel.name):set_generated()
        item:append_text(" on " .. channel.name)
    end
    if frame.is_broken then
        item:add_proto_expert_info(malformed)
    end
end

-- "ACK, 2 MESSAGE"
local function names_of(frames)
    local order, counts = {}, {}
    for _, frame in ipairs(frames) do
        local name = frame.name .. (frame.note and " " .. frame.note or "")
        if not counts[name] then
            order[#order + 1] = name
        end
        counts[name] = (counts[name] or 0) + 1
    end
    for i, name in ipairs(order) do
        order[i] = counts[name] > 1 and counts[name] .. " " .. name or name
    end
    return table.concat(order, ", ")
end

local RECEIVER_OF = { client = "server", server = "client" }

-- A packet that has opened, at `base`; what it is in a line.
local function dissect_opened(tvb, base, session, side, packet, tree)
    local frames = frames_of(packet.plain)
    local text = string.format("packet %.0f to %s: %s", packet.number, RECEIVER_OF[side],
        names_of(frames))
    local subtree = tree:add(protocol, tvb(base, packet.size), "mpgameserver 2: " .. text)
    subtree:add(f.version, tvb(base, 1), 2)
    subtree:add(f.sender, tvb(base, 1), side):set_generated()
    subtree:add(f.key_phase, tvb(base, 1), packet.phase % 2)
    subtree:add(f.key_updates, tvb(base, 1), packet.phase):set_generated()
    local id_size = side == "client" and ID_SIZE or 0
    if id_size > 0 then
        subtree:add(f.connection_id, tvb(base + 1, id_size))
    end
    local number = UInt64.new(packet.number % WORD, math.floor(packet.number / WORD))
    subtree:add(f.number, tvb(base + 1 + id_size, packet.header_size - 1 - id_size), number)
    subtree:add(f.frames, tvb(base + packet.header_size, #packet.plain))
    subtree:add(f.tag, tvb(base + packet.size - TAG_SIZE, TAG_SIZE))
    local opened_tvb = ByteArray.new(packet.plain, true):tvb("Frames")
    for _, frame in ipairs(frames) do
        add_frame(subtree, opened_tvb, session, frame)
    end
    for _, whole in ipairs(packet.wholes) do
        add_whole(subtree, whole)
    end
    return text
end

-- A packet that stays sealed. `session` is nil where nothing is known of it.
local function dissect_sealed(tvb, base, size, session, side, tree)
    local receiver = side and " to " .. RECEIVER_OF[side] or ""
    local text = string.format("sealed%s, %d bytes", receiver, size)
    local subtree = tree:add(protocol, tvb(base, size), "mpgameserver 2: " .. text)
    subtree:add(f.version, tvb(base, 1), 2)
    local at = base + 1
    if side then
        subtree:add(f.sender, tvb(base, 1), side):set_generated()
    end
    if side == "client" and size > ID_SIZE then
        subtree:add(f.connection_id, tvb(at, ID_SIZE))
        at = at + ID_SIZE
    end
    if at < base + size then
        subtree:add(f.sealed, tvb(at, base + size - at))
    end
    if session and mask_of(session, side) then
        subtree:add_proto_expert_info(unopened)
    end
    return text
end

-- Datagrams of protocol 2 -------------------------------------------------------------------------

local function id_at(tvb, offset)
    return hex(tvb(offset, ID_SIZE):raw())
end

-- The sessions that a sealed packet may belong to, the likeliest first, and the side that sent it.
local function find_sessions(tvb, pinfo)
    if tvb:captured_len() > ID_SIZE then
        local id = id_at(tvb, 1)
        if sessions[id] or secrets_of(id) then
            return { session_of(id) }, "client"
        end
    end
    local path = path_of(pinfo.dst, pinfo.dst_port, pinfo.src, pinfo.src_port)
    return paths[path] or {}, "server"
end

-- The packets of a datagram that open, the session that they are of, and who has sent them.
local function open_first_time(candidates, side, bytes)
    for _, session in ipairs(candidates) do
        local run = open_datagram(session, side, bytes)
        if run then
            return run, session
        end
    end
    local newest = candidates[1]
    return newest and search_run(newest, side, bytes), newest
end

local function open_captured(tvb, pinfo)
    local bytes = tvb:raw()
    local key = pinfo.number .. " " .. bytes:sub(-TAG_SIZE)
    if opened[key] then
        return opened[key]
    end
    read_key_log() -- a later phase may have a line of its own by now
    local candidates, side = find_sessions(tvb, pinfo)
    local run, session
    if tvb:captured_len() == tvb:reported_len() then
        run, session = open_first_time(candidates, side, bytes)
    end
    for _, packet in ipairs(run or {}) do
        packet.wholes = packet.plain and learn(session, packet.plain)
    end
    session = session or candidates[1]
    local found = { run = run, session = session, side = session and side }
    if session and mask_of(session, side) then -- else its keys may come yet
        opened[key] = found
    end
    return found
end

local function dissect_protocol_2(tvb, pinfo, tree)
    local found = open_captured(tvb, pinfo)
    local session, side = found.session, found.side
    if side == "client" then
        note_path(path_of(pinfo.src, pinfo.src_port, pinfo.dst, pinfo.dst_port), session)
    end
    local texts, base = {}, 0
    for _, packet in ipairs(found.run or { { size = tvb:captured_len() } }) do
        if packet.plain then
            texts[#texts + 1] = dissect_opened(tvb, base, session, side, packet, tree)
        else
            texts[#texts + 1] = dissect_sealed(tvb, base, packet.size, session, side, tree)
        end
        base = base + packet.size
    end
    if #texts > 1 then
        return string.format("%s, and %d packets more", texts[1], #texts - 1)
    end
    return texts[1]
end

local function read_hello2(r, fields)
    read_bytes(r, fields, "client_key", 65)
    read_bytes(r, fields, "cookie", (r:uint(1)))
    read_offer(r, fields)
    if #r.bytes ~= FIRST_DATAGRAM then
        error(BROKEN)
    end
    r.at = #r.bytes + 1
end

local function read_retry(r, fields)
    read_uint(r, fields, "form", 1)
    read_bytes(r, fields, "random", 8)
    read_uint(r, fields, "routing", 1)
    read_bytes(r, fields, "cookie", (r:uint(1)))
end

local function read_server_hello2(r, fields)
    read_uint(r, fields, "form", 1)
    read_bytes(r, fields, "random", 8)
    local finish = r:uint(2) + r.at
    read_uint(r, fields, "versions", 1)
    read_bytes(r, fields, "root_key", 65)
    read_bytes(r, fields, "server_key", 65)
    read_bytes(r, fields, "random", 32)
    read_bytes(r, fields, "connection_id", ID_SIZE)
    read_extensions(r, fields)
    if r.at ~= finish then
        error(BROKEN)
    end
    read_bytes(r, fields, "signature", 64)
end

local HANDSHAKE = {
    read_hello2,
    read_retry,
    read_server_hello2,
    function(r, fields)
        read_bytes(r, fields, "reset_token", 16)
    end,
}
local ANSWERED_ID = 3 + 1 + 8 + 2 + 1 + 65 + 65 + 32 -- where the id is in a SERVER_HELLO2

local function dissect_handshake(tvb, pinfo, tree)
    local bytes = tvb:raw()
    local kind = bytes:byte(3)
    local subtree = tree:add(protocol, tvb(), "mpgameserver 2: " .. KINDS[kind])
    subtree:add(f.version, tvb(0, 1), 2)
    subtree:add(f.routing, tvb(1, 1))
    subtree:add(f.kind, tvb(2, 1))
    local r, fields = reader(bytes, 4), {}
    local is_good = reads(HANDSHAKE[kind], r, fields) and r:is_at_end()
    add_fields(subtree, tvb, 0, fields)
    if not is_good and tvb:captured_len() == tvb:reported_len() then
        subtree:add_proto_expert_info(malformed)
    elseif is_good and kind == 3 then
        local path = path_of(pinfo.dst, pinfo.dst_port, pinfo.src, pinfo.src_port)
        note_path(path, session_of(id_at(tvb, ANSWERED_ID)))
    end
    return KINDS[kind]
end

local function is_handshake(tvb)
    return tvb:captured_len() > 3 and tvb(0, 1):uint() == 4 and KINDS[tvb(2, 1):uint()] ~= nil
end

local function is_sealed(tvb)
    return tvb:captured_len() > 0 and math.floor(tvb(0, 1):uint() / 8) == 1
end

-- Tells a handshake packet from what other protocols send: by its length, a constant, or a key.
local function is_surely_handshake(tvb)
    if not is_handshake(tvb) then
        return false
    end
    local there, kind, routing = tvb:captured_len(), tvb(2, 1):uint(), tvb(1, 1):uint()
    if kind == 1 then
        return tvb:reported_len() == FIRST_DATAGRAM and tvb(3, 1):uint() == 4
    elseif routing ~= 255 then
        return false
    elseif kind == 2 then
        return there > 13 and FORMS[tvb(3, 1):uint()] ~= nil
            and tvb:reported_len() == 14 + tvb(13, 1):uint()
    elseif kind == 3 then
        return there > 15 and FORMS[tvb(3, 1):uint()] ~= nil and tvb(14, 1):uint() == 2
    end
    return tvb:reported_len() == 19
end

local function belongs_to_session(tvb, pinfo)
    return is_sealed(tvb) and #find_sessions(tvb, pinfo) > 0
end

-- Protocol 1 --------------------------------------------------------------------------------------

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

-- The offer of protocol 2, if the filler of the hello that begins there has one.
local function dissect_offer(tvb, start, tree)
    local size = #OFFER_MAGIC
    if tvb:captured_len() < start + size or tvb(start, size):raw() ~= OFFER_MAGIC then
        return
    end
    local r, fields = reader(tvb:raw(), start + #OFFER_MAGIC + 1), {}
    local is_good = reads(function()
        read_bytes(r, fields, "cookie", (r:uint(1)))
        read_offer(r, fields)
    end)
    local subtree = tree:add(tvb(start, r.at - 1 - start), "Offer of protocol 2")
    add_fields(subtree, tvb, 0, fields)
    if not is_good then
        subtree:add_proto_expert_info(malformed)
    end
end

local function read_tagged_integer(r)
    local size = TAGGED_INTEGERS[(r:uint(2))]
    if not size then
        error(BROKEN)
    end
    return (r:uint(size))
end

local function read_tagged_bytes(r)
    if r:uint(2) ~= TAGGED_BYTES then
        error(BROKEN)
    end
    return (r:take(read_tagged_integer(r)))
end

-- The path of a datagram, of which a client and a server have one each.
local function path_1_of(tvb, offset, pinfo)
    local is_up = RECEIVERS[tvb(offset, 4):string()] == "server"
    local path = is_up and path_of(pinfo.src, pinfo.src_port, pinfo.dst, pinfo.dst_port)
        or path_of(pinfo.dst, pinfo.dst_port, pinfo.src, pinfo.src_port)
    paths_1[path] = paths_1[path] or { salts = {}, searches = MOST_SEARCHES }
    return paths_1[path]
end

-- Notes the salt of a SERVER_HELLO: the key log tells the keys by it.
local function note_salt(hello, path)
    reads(function()
        local r = reader(hello)
        r:take(2)
        read_tagged_bytes(r)
        local signed = reader(read_tagged_bytes(r))
        read_tagged_bytes(signed)
        table.insert(path.salts, 1, hex(read_tagged_bytes(signed)))
        path.salts[MOST_SESSIONS_ON_PATH + 1] = nil
    end)
end

-- The keys that are known to belong here, the likeliest first: that of the last packet, and those
-- whose SERVER_HELLO was seen.
local function keys_on(path)
    local found = { path.key }
    for _, salt in ipairs(path.salts) do
        found[#found + 1] = session_keys.by_salt[salt]
    end
    return found
end

-- In a capture that began later, the newest keys of the log.
local function keys_to_search(path)
    local found, all = {}, session_keys.in_order
    if path.searches > 0 and not path.key then
        path.searches = path.searches - 1
        for i = #all, math.max(1, #all - MOST_KEYS), -1 do
            found[#found + 1] = all[i]
        end
    end
    return found
end

-- The payload of a sealed datagram; false if none of the keys opens it.
local function open_1(bytes, path)
    read_key_log()
    local header, nonce = bytes:sub(1, HEADER_SIZE), bytes:sub(1, 12)
    local sealed, tag = bytes:sub(HEADER_SIZE + 1, -TAG_SIZE - 1), bytes:sub(-TAG_SIZE)
    for _, find in ipairs({ keys_on, keys_to_search }) do
        for _, key in ipairs(find(path)) do
            local plain = open(key, nonce, header, sealed, tag, 0, 1, 1)
            if plain then
                path.key = key
                return plain
            end
        end
    end
    return false
end

local function read_content(r, fields, kind, size)
    if TYPES[kind] == "APP_FRAGMENT" then
        read_uint(r, fields, "fragment_of", 2)
        read_uint(r, fields, "fragment_index", 2)
        read_uint(r, fields, "fragment_count", 2)
        read_bytes(r, fields, "fragment", size - 6)
    else
        read_bytes(r, fields, "message", size)
    end
end

-- The messages of a payload; the last one is marked where it is none.
local function messages_of(plain, kind, count)
    local r, found = reader(plain), {}
    local function read_one(message)
        local size = #plain - NUMBER_SIZE
        if count > 1 then
            size = r:uint(2)
        end
        read_uint(r, message.fields, "message_seq", NUMBER_SIZE)
        if count > 1 then
            message.kind = read_uint(r, message.fields, "message_type", 1)
        end
        read_content(r, message.fields, message.kind, size)
    end
    while #found < count do
        local message = { kind = kind, start = r.at - 1, fields = {} }
        message.is_broken = not reads(read_one, message)
        message.size = r.at - 1 - message.start
        found[#found + 1] = message
        if message.is_broken then
            break
        end
    end
    return found
end

local function dissect_payload(plain, kind, count, tree)
    if #plain == 0 then
        return
    end
    local tvb = ByteArray.new(plain, true):tvb("Messages")
    for _, message in ipairs(messages_of(plain, kind, count)) do
        local name = TYPES[message.kind] or "invalid"
        local range = message.size > 0 and tvb(message.start, message.size) or tvb(0, 1)
        local item = tree:add(f.frame, range, name)
        add_fields(item, tvb, 0, message.fields)
        if message.is_broken then
            item:add_proto_expert_info(malformed)
        end
    end
end

local function dissect_sealed_1(tvb, offset, length, pinfo, tree)
    local bytes = tvb(offset, HEADER_SIZE + length + TAG_SIZE):raw()
    local key = pinfo.number .. " " .. bytes:sub(-TAG_SIZE)
    local path = path_1_of(tvb, offset, pinfo)
    local plain = opened[key]
    if plain == nil then
        plain = open_1(bytes, path)
        if #keys_on(path) > 0 then -- else its key may come yet
            opened[key] = plain
        end
    end
    if length > 0 then
        tree:add(f.sealed, tvb(offset + HEADER_SIZE, length))
    end
    tree:add(f.tag, tvb(offset + HEADER_SIZE + length, TAG_SIZE))
    if plain then
        local kind, count = tvb(offset + 12, 1):uint(), tvb(offset + 15, 1):uint()
        dissect_payload(plain, kind, count, tree)
    elseif #keys_on(path) > 0 then
        tree:add_proto_expert_info(unopened)
    end
end

local function dissect_body(tvb, offset, pinfo, tree)
    local length, body = tvb(offset + 13, 2):uint(), offset + HEADER_SIZE
    if not is_clear(tvb, offset) then
        dissect_sealed_1(tvb, offset, length, pinfo, tree)
        return
    end
    if length >= NUMBER_SIZE then
        tree:add(f.message_seq, tvb(body, NUMBER_SIZE))
    end
    if length > NUMBER_SIZE then
        local hello = tvb(body + NUMBER_SIZE, length - NUMBER_SIZE)
        tree:add(f.hello, hello)
        if TYPES[tvb(offset + 12, 1):uint()] == "SERVER_HELLO" then
            note_salt(hello:raw(), path_1_of(tvb, offset, pinfo))
        end
    end
    dissect_offer(tvb, body + NUMBER_SIZE + FILLER_START, tree)
    tree:add(f.crc, tvb(body + length, CRC_SIZE))
end

-- One of the datagrams; `is_last` when none of the capture follows it.
local function dissect_datagram(tvb, offset, is_last, pinfo, tree)
    local there, whole, past = tvb:captured_len(), tvb:reported_len(), said_end(tvb, offset)
    local shown = math.min(past, there)
    local subtree = tree:add(
        protocol, tvb(offset, shown - offset), "mpgameserver: " .. summary(tvb, offset)
    )
    subtree:add(f.version, tvb(offset, 1), 1)
    dissect_header(tvb(offset, HEADER_SIZE), subtree)
    -- Where the capture has only the beginning, another datagram may follow unseen.
    if past > whole or (is_last and past < whole and there == whole) then
        subtree:add_proto_expert_info(bad_size)
    elseif past <= there then
        dissect_body(tvb, offset, pinfo, subtree)
    end
end

local function dissect_protocol_1(tvb, pinfo, tree)
    local places = beginnings(tvb)
    for place, offset in ipairs(places) do
        dissect_datagram(tvb, offset, place == #places, pinfo, tree)
    end
    local info = summary(tvb, 0)
    if #places > 1 then
        info = string.format("%s, and %d datagrams more", info, #places - 1)
    end
    return info
end

-- Both --------------------------------------------------------------------------------------------

function protocol.dissector(tvb, pinfo, tree)
    local info
    if is_header(tvb, 0) then
        info = dissect_protocol_1(tvb, pinfo, tree)
    elseif is_handshake(tvb) then
        info = dissect_handshake(tvb, pinfo, tree)
    elseif is_sealed(tvb) then
        info = dissect_protocol_2(tvb, pinfo, tree)
    else
        return 0
    end
    pinfo.cols.protocol = "mpgameserver"
    pinfo.cols.info = info
    return tvb:captured_len()
end

DissectorTable.get("udp.port"):add_for_decode_as(protocol)
protocol:register_heuristic("udp", function(tvb, pinfo, tree)
    if not (is_header(tvb, 0) or is_surely_handshake(tvb) or belongs_to_session(tvb, pinfo)) then
        return false
    end
    pinfo.conversation = protocol -- other heuristics take some of its datagrams for theirs
    protocol.dissector(tvb, pinfo, tree)
    return true
end)

"""GLSL of the second edition. World units; colours are linear until the tone curve; light is irradiance / pi."""

KINDS = ("skin", "cloth", "thin", "eyes", "teeth", "hard", "lens")


def header(kind: str) -> str:
    """The first lines of a program for one kind: one program each, so that no pixel runs another's branch."""
    names = "\n".join(f"#define {name.upper()} {number}" for number, name in enumerate((*KINDS, "strand")))
    return f"#version 330\n{names}\n#define KIND {(*KINDS, 'strand').index(kind)}\n"


VERTEX = """
in vec3 position; in vec3 normal; in vec3 rest; in vec2 uv; in vec4 paint; in vec4 ambient;
uniform mat4 camera; uniform mat4 key_camera;
out vec3 world; out vec3 n; out vec3 r; out vec2 tex; out vec4 painted; out vec4 soft; out vec3 in_key;
void main() {
    world = position; n = normal; r = rest; tex = uv; painted = paint; soft = ambient;
    in_key = (key_camera * vec4(world, 1)).xyz * 0.5 + 0.5; gl_Position = camera * vec4(world, 1);
}
"""

COMMON = """
uniform sampler2D key_depth; uniform sampler3D noise; uniform sampler2D environment; uniform vec3 eye;
uniform vec3 key; uniform vec3 key_colour; uniform float shadow_size; uniform vec3 camera_gain; uniform vec2 tone;
uniform int part; uniform vec3 seed; uniform float reach;
layout(location = 0) out vec4 shaded; layout(location = 1) out float part_of;
float grain(vec3 p) { return texture(noise, p * (1.0 / 32.0)).r; }
vec3 around(vec3 d, float blur) {
    vec2 at = vec2(atan(d.x, d.z) * 0.15915494, acos(clamp(d.y, -1.0, 1.0)) * 0.31830989);
    return textureLod(environment, at, blur).rgb;
}
const vec2 taps[8] = vec2[](vec2(0.75, -0.4), vec2(-0.5, 0.75), vec2(-0.65, -0.25), vec2(0.45, 0.8),
                            vec2(0.4, 0.25), vec2(-0.35, 0.35), vec2(0.1, -0.5), vec2(0.1, 0.05));
vec3 developed(vec3 seen) {
    seen = max(mix(vec3(dot(seen, vec3(0.2126, 0.7152, 0.0722))), seen, tone.y), 0.0);
    seen = seen * (1.0 + seen * 0.12) / (1.0 + seen * 0.55);
    return pow(clamp(seen, 0.0, 1.0), vec3(tone.x / 2.2));
}
"""

SURFACES = """
struct Surface { vec3 albedo; float alpha; float specular; float rough; };
#if KIND == SKIN
uniform vec4 hair_paint; uniform vec4 beard_paint; uniform vec3 lips; uniform vec2 blush; uniform vec2 oil;
Surface surface(vec4 c) {
    float fine = grain(r * 420.0), middle = grain(r * 150.0 + seed), coarse = grain(r * 48.0 + seed);
    float pale = 0.5 * coarse + 0.3 * middle + 0.2 * fine - 0.5;
    vec3 albedo = pow(c.rgb, vec3(2.2)) * colour;
    albedo *= vec3(1.0) + vec3(0.10, 0.22, 0.22) * pale;
    float red = blush.x * clamp(painted.w * 1.1 + 0.18 * (coarse - 0.4), 0.0, 1.0);
    albedo *= mix(vec3(1.0), vec3(1.05, 0.76, 0.73), red);
    float spots = smoothstep(0.66, 0.78, 0.75 * fine + 0.25 * middle) * blush.y;
    spots *= smoothstep(0.1, 0.6, painted.w + 0.15);
    albedo *= mix(vec3(1.0), vec3(0.68, 0.52, 0.42), spots) * mix(vec3(1.0), lips * (0.92 + 0.16 * fine), painted.z);
    float hairy = hair_paint.w * smoothstep(0.25, 0.62, painted.x + 0.45 * (0.5 * fine + 0.5 * middle - 0.5));
    albedo = mix(albedo, hair_paint.rgb * (0.6 + 0.6 * fine), 0.93 * hairy);
    float bearded = beard_paint.w * smoothstep(0.05, 0.85, painted.y + 0.5 * (fine - 0.5));
    albedo = mix(albedo, beard_paint.rgb * (0.7 + 0.5 * fine), 0.75 * bearded);
    float central = exp(-r.x * r.x * 380.0) * smoothstep(0.02, 0.10, r.z) * smoothstep(-0.30, -0.16, r.y);
    float shine = oil.x * (0.42 + 0.45 * central * oil.y) * (0.65 + 0.7 * middle) * (1.0 - 0.75 * max(hairy, bearded));
    return Surface(albedo, 1.0, shine * (1.0 + 0.9 * painted.z), mix(0.55, 0.36, central) - 0.10 * painted.z);
}
#elif KIND == CLOTH
Surface surface(vec4 c) {  // finish = pattern, cells per world unit, bumps, fuzz
    vec3 p = r * finish.y; float k = finish.x, pick = 0.0;
    if (k == 1.0) pick = smoothstep(0.3, 0.7, grain(vec3(p.x * 3.0, p.y * 0.7, p.z * 3.0) + seed));
    if (k == 2.0) pick = step(0.5, fract(p.y));
    if (k == 3.0) pick = 0.5 * step(0.5, fract(p.y)) + 0.5 * step(0.5, fract(p.x + p.z));
    if (k == 4.0) pick = step(length(fract(vec2(p.x + p.z, p.y)) - 0.5), 0.28);
    if (k == 5.0) pick = 0.5 + 0.5 * sin(tex.x * finish.y) ;  // ribs
    float away = cuts.x + cuts.y * world.x * world.x + cuts.z * (world.z - cuts.w);
    float folds = grain(r * 26.0 + seed) * 0.6 + grain(r * 60.0 + seed) * 0.4;
    vec3 albedo = mix(colour, second, pick) * (0.82 + 0.20 * grain(r * 600.0) + 0.24 * (folds - 0.25));
    return Surface(albedo, world.y > away ? 0.0 : 1.0, 0.25, 0.85);
}
#elif KIND == THIN
Surface surface(vec4 c) { return Surface(colour, c.a * extra.x, 0.0, 1.0); }
#elif KIND == EYES
Surface surface(vec4 c) {
    vec3 albedo = pow(c.rgb, vec3(2.2)) * colour;
    float veins = grain(r * 500.0 + seed);
    albedo *= mix(vec3(1.0), vec3(1.02, 0.88, 0.86), 0.6 * veins);
    return Surface(albedo, c.a, 1.0, 0.06);
}
#elif KIND == TEETH
Surface surface(vec4 c) { return Surface(pow(c.rgb, vec3(2.2)) * colour, c.a, 0.35, 0.3); }
#elif KIND == HARD
Surface surface(vec4 c) {  // finish = pattern (1 tortoise), metal, roughness
    float blot = smoothstep(0.35, 0.65, grain(r * 130.0 + seed));
    return Surface(finish.x > 0.5 ? mix(colour, second, blot) : colour, 1.0, 1.0 + 20.0 * finish.y, finish.z);
}
#else
Surface surface(vec4 c) { return Surface(vec3(0.0), 1.0, 1.0, 0.03); }
#endif
"""

FRAGMENT = f"""
in vec3 world; in vec3 n; in vec3 r; in vec2 tex; in vec4 painted; in vec4 soft; in vec3 in_key;
uniform sampler2D picture; uniform vec3 colour; uniform vec3 second; uniform vec4 finish; uniform vec4 extra;
uniform vec4 cuts; uniform vec2 alpha_range;
{COMMON}
{SURFACES}
float lit() {{
    float s = 0.0;
    for (int i = 0; i < 8; i++)
        s += step(in_key.z - 0.0035, texture(key_depth, in_key.xy + taps[i] * shadow_size).r);
    return s / 8.0;
}}
void main() {{
    Surface s = surface(texture(picture, tex));
    if (s.alpha < alpha_range.x || s.alpha >= alpha_range.y) discard;
    vec3 N = normalize(n), V = normalize(eye - world); float shadow = lit(), inner = 1.0;
#if KIND == CLOTH || KIND == HARD
    if (dot(N, V) < 0.0) {{ N = -N; inner = KIND == CLOTH ? 0.4 : 1.0; }}
#endif
#if KIND == LENS
    if (dot(N, V) < 0.0) N = -N;
#endif
#if KIND == SKIN
    vec3 a = r * 260.0, b = r * 620.0; float g = grain(a), h = grain(b);
    vec3 bump = vec3(grain(a + vec3(0.5, 0, 0)) - g, grain(a + vec3(0, 0.5, 0)) - g, grain(a + vec3(0, 0, 0.5)) - g);
    bump += 0.6 * vec3(grain(b + vec3(0.5, 0, 0)) - h, grain(b + vec3(0, 0.5, 0)) - h, grain(b + vec3(0, 0, 0.5)) - h);
    vec3 M = normalize(N - 0.22 * bump * (1.0 - 0.5 * painted.z));
    const vec3 bleed = vec3(0.38, 0.17, 0.11);
#elif KIND == CLOTH
    vec3 a = r * 40.0 + seed; float g = grain(a);
    vec3 bump = vec3(grain(a + vec3(0.7, 0, 0)) - g, grain(a + vec3(0, 0.7, 0)) - g, grain(a + vec3(0, 0, 0.7)) - g);
    vec3 M = normalize(N - finish.z * bump); const vec3 bleed = vec3(0.06);
#else
    vec3 M = N; const vec3 bleed = vec3(0.10);
#endif
    float nk = dot(M, key), graze = 1.0 - max(dot(M, V), 0.0), power = 2.0 / max(s.rough * s.rough, 0.002);
    vec3 diffuse = max((vec3(nk) + bleed) / (1.0 + bleed), 0.0) * mix(vec3(shadow), vec3(1.0), bleed * 0.10);
#if KIND == SKIN
    diffuse += vec3(0.55, 0.10, 0.04) * painted.w * pow(max(-dot(N, key), 0.0), 0.7) * 0.5;  // light through ears
#endif
    vec3 H = normalize(key + V); float nh = max(dot(M, H), 0.0), fh = pow(1.0 - max(dot(V, H), 0.0), 5.0);
    float lobe = (power + 2.0) * 0.125 * pow(nh, power) * smoothstep(0.0, 0.15, nk);
#if KIND == SKIN
    lobe = 0.65 * lobe + 0.35 * 2.5 * pow(nh, 12.0) * smoothstep(0.0, 0.2, nk);
#endif
    float f0 = KIND == LENS ? 0.05 : 0.03;
    float open_ = soft.a, fresnel = f0 + (1.0 - f0) * pow(graze, 5.0) * (1.0 - s.rough);
    vec3 mirrored = around(reflect(-V, M), clamp(s.rough * 7.0, 0.0, 4.5)) * open_ * fresnel;
#if KIND == SKIN
    mirrored *= 0.4;
#endif
    vec3 shine = mirrored + key_colour * shadow * lobe * (f0 + (1.0 - f0) * fh) * 3.14159;
    vec3 light = soft.rgb + key_colour * diffuse;
#if KIND == CLOTH
    vec3 seen = s.albedo * light * (1.0 + 0.5 * pow(graze, 3.0)) * inner;
#elif KIND == HARD
    vec3 tinted = mix(vec3(1.0), s.albedo * 20.0, clamp(finish.y, 0.0, 1.0) * 0.95);
    vec3 seen = s.albedo * light * (1.0 - 0.8 * finish.y) + shine * min(tinted, vec3(24.0)) ;
#elif KIND == LENS
    vec3 seen = shine + colour * light * 0.05;
#else
    vec3 seen = s.albedo * light + s.specular * shine;
#endif
    seen = developed(seen * camera_gain);
    float cover = alpha_range.y > 1.0 ? 1.0 : s.alpha;
#if KIND == LENS
    cover = clamp(extra.x + dot(shine * camera_gain, vec3(0.3)), 0.0, 1.0);
    shaded = vec4(seen * mix(1.0, cover, extra.x), cover);
#else
    shaded = vec4(seen * cover, cover);
#endif
    part_of = float(part) / 255.0;
}}
"""

STRAND_VERTEX = """
in vec3 position; in vec3 tangent; in vec2 at; in vec3 tint; in vec3 ambient; in float wide;
uniform mat4 camera; uniform mat4 key_camera; uniform vec3 eye; uniform float width; uniform float pixel;
out vec3 world; out vec3 T; out vec3 across; out vec2 on; out vec3 shift; out vec3 soft; out vec3 in_key;
void main() {
    vec3 V = normalize(eye - position); T = normalize(tangent); across = normalize(cross(T, V) + 1e-5);
    float w = max(width * wide, pixel);
    world = position + across * (0.5 * w * at.y); on = at; shift = tint; soft = ambient;
    in_key = (key_camera * vec4(position, 1)).xyz * 0.5 + 0.5; gl_Position = camera * vec4(world, 1);
}
"""

# Light on strands: Kajiya and Kay's cones, with the shifted highlights and the glow against the light of
# Marschner et al. (2003), coloured where light passed through the strand.
STRAND_FRAGMENT = f"""
in vec3 world; in vec3 T; in vec3 across; in vec2 on; in vec3 shift; in vec3 soft; in vec3 in_key;
uniform vec3 colour; uniform vec3 second; uniform float gloss; uniform float thickness;
{COMMON}
void main() {{
    vec3 V = normalize(eye - world), L = key, D = normalize(T);
    vec3 albedo = mix(colour, second, smoothstep(0.1, 0.95, on.x)) * shift;
    float passed = 0.0;
    for (int i = 0; i < 4; i++) {{
        float behind = (in_key.z - texture(key_depth, in_key.xy + taps[i] * max(shadow_size, 0.003)).r) * 2.0 * reach;
        passed += exp(-max(behind - 0.004, 0.0) * thickness);
    }}
    passed *= 0.25;
    vec3 N = normalize(V * sqrt(max(1.0 - on.y * on.y, 0.0)) + across * on.y);
    float tl = dot(D, L), tv = dot(D, V), sl = sqrt(max(1.0 - tl * tl, 0.0)), sv = sqrt(max(1.0 - tv * tv, 0.0));
    float facing = 0.5 + 0.5 * dot(V, L);
    float round_ = 0.72 + 0.28 * dot(N, normalize(L + 0.5 * V));
    vec3 light = soft + key_colour * passed * sl * round_ * (0.45 + 0.4 * facing);
    float a = tl + tv;  // sine of the inclination that the highlight is off by
    float R = exp(-pow((a + 0.11) / 0.16, 2.0)) * (0.4 + 0.6 * facing);
    float TRT = exp(-pow((a - 0.19) / 0.30, 2.0)) * (0.3 + 0.7 * facing);
    float TT = exp(-pow(a / 0.45, 2.0)) * pow(1.0 - facing, 3.0);
    vec3 glow = pow(albedo, vec3(0.65));
    vec3 shine = vec3(0.058 * R * gloss) + glow * (0.12 * TRT * gloss + 0.40 * TT);
    vec3 mirrored = around(reflect(-V, N), 4.0) * 0.015 * gloss * clamp(dot(soft, vec3(1.2)), 0.0, 1.0);
    vec3 seen = albedo * light + key_colour * passed * shine * sl + mirrored * (0.6 + glow);
    shaded = vec4(developed(seen * camera_gain), 1.0); part_of = float(part) / 255.0;
}}
"""

DEPTH_VERTEX = """
in vec3 position; uniform mat4 camera; out vec3 world;
void main() { world = position; gl_Position = camera * vec4(position, 1); }
"""

DEPTH_FRAGMENT = """
in vec3 world; uniform vec4 cuts;
void main() {
#if KIND == CLOTH
    if (world.y > cuts.x + cuts.y * world.x * world.x + cuts.z * (world.z - cuts.w)) discard;
#endif
}
"""

STRAND_DEPTH_VERTEX = """
in vec3 position; in vec3 tangent; in vec2 at; in float wide;
uniform mat4 camera; uniform vec3 towards; uniform float width;
void main() {
    vec3 across = normalize(cross(tangent, towards) + 1e-5);
    gl_Position = camera * vec4(position + across * (0.5 * width * wide * at.y), 1);
}
"""

EMPTY_FRAGMENT = "void main() {}"

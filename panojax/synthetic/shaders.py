"""GLSL of the head renderer. World units throughout; colours are linear until the tone curve at the end of shading."""

KINDS = ("skin", "hair", "cloth", "fur", "thin", "eyes", "teeth")


def header(kind: str) -> str:
    """The first lines of a program for one kind. One program each: software GL runs both sides of every branch."""
    names = "\n".join(f"#define {name.upper()} {number}" for number, name in enumerate(KINDS))
    highlights, taps = {"skin": (3, 8), "eyes": (3, 4), "hair": (2, 4)}.get(kind, (1, 4))
    numbers = {"KIND": KINDS.index(kind), "HIGHLIGHTS": highlights, "TAPS": taps}
    return "\n".join(["#version 330", names, *(f"#define {name} {number}" for name, number in numbers.items()), ""])


VERTEX = """
in vec3 position; in vec3 normal; in vec3 tangent; in vec3 rest; in vec2 uv; in vec4 paint; in vec3 ambient;
uniform mat4 camera; uniform mat4 key_camera; uniform float fur_length; uniform float fur_layers; uniform vec3 fur_comb;
out vec3 world; out vec3 n; out vec3 t; out vec3 r; out vec2 tex;
out vec4 painted; out vec3 soft; out vec3 in_key; out float layer;
void main() {
    world = position; layer = 1.0;
#if KIND == FUR
    layer = (fur_layers - float(gl_InstanceID) - 0.4) / fur_layers;  // outermost first: it hides the rest
    world += normalize(normal + layer * fur_comb) * (fur_length * layer * smoothstep(0.1, 0.9, paint.x));
#endif
    n = normal; t = tangent; r = rest; tex = uv; painted = paint; soft = ambient;
    in_key = (key_camera * vec4(world, 1)).xyz * 0.5 + 0.5; gl_Position = camera * vec4(world, 1);
}
"""

SURFACES = """
#if KIND == SKIN
uniform vec4 hair_paint; uniform vec4 beard_paint; uniform vec3 lips; uniform vec2 blush;
Surface surface(vec4 c) {
    float fine = grain(r * 300.0), coarse = grain(r * 95.0 + seed);
    vec3 albedo = pow(c.rgb, vec3(2.2)) * colour * (vec3(1.0) + vec3(0.06, 0.11, 0.11) * (coarse + 0.5 * fine - 0.75));
    albedo *= mix(vec3(1.0), vec3(1.06, 0.80, 0.78), painted.w * blush.x);
    float spots = smoothstep(0.66, 0.78, 0.75 * fine + 0.25 * coarse) * blush.y;
    spots *= smoothstep(0.1, 0.6, painted.w + 0.15);
    albedo *= mix(vec3(1.0), vec3(0.68, 0.52, 0.42), spots) * mix(vec3(1.0), lips, painted.z);
    float mixed_grain = 0.5 * (fine + coarse);
    float hairy = hair_paint.w * smoothstep(0.28, 0.62, painted.x + 0.35 * (mixed_grain - 0.5));
    albedo = mix(albedo, hair_paint.rgb * (0.7 + 0.6 * mixed_grain), hairy);
    float bearded = beard_paint.w * smoothstep(0.1, 0.8, painted.y + 0.5 * (fine - 0.5));
    albedo = mix(albedo, beard_paint.rgb * (0.8 + 0.4 * fine), 0.7 * bearded);
    float shine = finish.z * (1.0 - 0.75 * max(hairy, bearded)) * (0.7 + 0.6 * fine) * (1.0 + 0.8 * painted.z);
    return Surface(albedo, 1.0, shine, 0.0);
}
#elif KIND == HAIR
Surface surface(vec4 c) {
    float locks = grain(vec3(tex.x * 150.0, tex.y * 2.5, seed.z));
    float jag = (locks + grain(vec3(r.xz * 60.0, seed.y))) * extra.y;
    bool front = world.z > cuts.z && abs(world.x) < cuts.w;
    float floor_y = front ? max(cuts.x + jag, cuts.y + 0.6 * jag) : cuts.x + jag;
    float strand = 0.75 + 0.5 * locks;
    float detail = mix(1.0, c.r * 2.0, extra.x), down = smoothstep(0.2, -0.3, r.y + 0.1 * (strand - 1.0));
    vec3 card = painted.xyz;  // its own normal: seen edge-on it fades
    float seen = smoothstep(0.02, 0.22, abs(dot(card, normalize(eye - world))));
    return Surface(mix(colour, second, down) * detail * strand, world.y < floor_y ? 0.0 : c.a * seen, finish.z, locks);
}
#elif KIND == CLOTH
Surface surface(vec4 c) {  // finish = pattern, cells per world unit, specular, sharpness
    vec3 p = r * finish.y; float k = finish.x, pick = 0.0;
    if (k == 1.0) pick = smoothstep(0.3, 0.7, grain(vec3(p.x * 3.0, p.y * 0.7, p.z * 3.0) + seed));
    if (k == 2.0) pick = step(0.5, fract(p.y));
    if (k == 3.0) pick = 0.5 * step(0.5, fract(p.y)) + 0.5 * step(0.5, fract(p.x + p.z));
    if (k == 4.0) pick = step(length(fract(vec2(p.x + p.z, p.y)) - 0.5), 0.28);
    float away = cuts.x + cuts.y * world.x * world.x + cuts.z * (world.z - cuts.w);
    vec3 albedo = mix(colour, second, pick) * (0.86 + 0.28 * grain(r * 600.0));
    return Surface(albedo, world.y > away ? 0.0 : 1.0, finish.z, 0.0);
}
#elif KIND == FUR
uniform vec2 fur_grain;
Surface surface(vec4 c) {
    vec3 p = r * fur_grain.x + seed; p.y *= 0.8;
    float tuft = 0.55 * grain(p) + 0.45 * grain(p * 2.7 + 11.0);
    float cover = smoothstep(0.15, 0.6, painted.x + 0.4 * (tuft - 0.5));
    bool gone = tuft * cover < 0.16 + 0.46 * layer || cover < 0.15;
    return Surface(mix(colour, second, layer) * (0.75 + 0.5 * tuft), gone ? 0.0 : 1.0, finish.z, 0.0);
}
#elif KIND == THIN
Surface surface(vec4 c) { return Surface(colour, c.a * extra.x, finish.z, 0.0); }
#else
Surface surface(vec4 c) { return Surface(pow(c.rgb, vec3(2.2)) * colour, c.a, finish.z, 0.0); }
#endif
"""

LIGHTING = """
float lit() {
    float s = 0.0;
    const vec2 taps[8] = vec2[](vec2(0.75, -0.4), vec2(-0.5, 0.75), vec2(-0.65, -0.25), vec2(0.45, 0.8),
                                vec2(0.4, 0.25), vec2(-0.35, 0.35), vec2(0.1, -0.5), vec2(0.1, 0.05));
    for (int i = 0; i < TAPS; i++) s += texture(key_depth, vec3(in_key.xy + taps[i] * shadow_size, in_key.z - 0.0035));
    return s / float(TAPS);
}
#if KIND == HAIR || KIND == FUR
// Strands shine in cones around them (Kajiya and Kay 1989).
vec3 shade(Surface s, vec3 N, vec3 V, float shadow) {
    vec3 K = lights[0]; float wrap = clamp(dot(N, K) * 0.7 + 0.3, 0.0, 1.0);
#if KIND == FUR
    float depth = 0.35 + 0.65 * layer;
    return s.albedo * depth * (soft + light_colours[0] * shadow * wrap * 0.8);
#else
    vec3 T = normalize(t + 0.25 * N * (s.noise - 0.5)), shine = vec3(0.0);
    float along = dot(T, K), across = sqrt(max(1.0 - along * along, 0.0));
    vec3 light = soft + light_colours[0] * shadow * wrap * (0.5 + 0.5 * across), tinted = sqrt(s.albedo) * 0.35;
    for (int i = 0; i < HIGHLIGHTS; i++) {
        float th = dot(T, normalize(lights[i] + V)), sh = sqrt(max(1.0 - th * th, 0.0));
        float facing = clamp(dot(N, lights[i]) * 0.6 + 0.4, 0.0, 1.0) * (i == 0 ? shadow : 0.7);
        shine += light_colours[i] * facing * (pow(sh, finish.w) * 0.5 + pow(sh, finish.w * 0.2) * tinted);
    }
    return s.albedo * light + s.specular * shine;
#endif
}
#else
// Wrapped diffuse, redder past the edge of light on skin; Blinn highlights.
vec3 shade(Surface s, vec3 N, vec3 V, float shadow) {
    float nk = dot(N, lights[0]); vec3 shine = soft * 0.6 * pow(1.0 - max(dot(N, V), 0.0), 4.0);
#if KIND == SKIN
    const vec3 bleed = vec3(0.35, 0.16, 0.105);
#else
    const vec3 bleed = vec3(0.12);
#endif
    vec3 diffuse = max((vec3(nk) + bleed) / (1.0 + bleed), 0.0) * mix(vec3(shadow), vec3(1.0), bleed * 0.12);
#if KIND != THIN
    for (int i = 0; i < HIGHLIGHTS; i++) {
        vec3 H = normalize(lights[i] + V); float nl = dot(N, lights[i]), graze = 1.0 - max(dot(V, H), 0.0);
        float fresnel = 0.35 + 4.0 * graze * graze * graze * graze;
        float lobe = fresnel * pow(max(dot(N, H), 0.0), finish.w) * smoothstep(0.0, 0.2, nl);
        shine += light_colours[i] * lobe * (i == 0 ? shadow : 0.8);
    }
#endif
    return s.albedo * (soft + light_colours[0] * diffuse) + s.specular * shine;
}
#endif
"""

FRAGMENT = f"""
in vec3 world; in vec3 n; in vec3 t; in vec3 r; in vec2 tex;
in vec4 painted; in vec3 soft; in vec3 in_key; in float layer;
uniform sampler2D picture; uniform sampler2DShadow key_depth; uniform sampler3D noise; uniform vec3 eye;
uniform vec3 lights[3]; uniform vec3 light_colours[3]; uniform float shadow_size;
uniform int part; uniform vec3 colour; uniform vec3 second; uniform vec4 finish; uniform vec4 extra;
uniform vec4 cuts; uniform vec3 seed; uniform vec2 alpha_range; uniform vec3 camera_gain; uniform vec2 tone;
layout(location = 0) out vec4 shaded; layout(location = 1) out float part_of;
struct Surface {{ vec3 albedo; float alpha; float specular; float noise; }};
float grain(vec3 p) {{ return texture(noise, p * (1.0 / 32.0)).r; }}
{SURFACES}
{LIGHTING}
void main() {{
    Surface s = surface(texture(picture, tex));
    if (s.alpha < alpha_range.x || s.alpha >= alpha_range.y) discard;
    vec3 N = normalize(n), V = normalize(eye - world);
#if KIND == CLOTH
    if (dot(N, V) < 0.0) {{ N = -N; s.albedo *= 0.35; }}  // the inside of a collar
#endif
    vec3 seen = shade(s, N, V, lit()) * camera_gain;
    seen = max(mix(vec3(dot(seen, vec3(0.2126, 0.7152, 0.0722))), seen, tone.y), 0.0);
    seen = seen * (1.0 + seen * 0.12) / (1.0 + seen * 0.55);
    seen = pow(clamp(seen, 0.0, 1.0), vec3(tone.x / 2.2));
    float cover = alpha_range.y > 1.0 ? 1.0 : s.alpha;
    shaded = vec4(seen * cover, cover); part_of = float(part) / 255.0;
}}
"""

DEPTH_VERTEX = """
in vec3 position; in vec3 normal; in vec2 uv; in vec4 paint;
uniform mat4 camera; uniform float fur_length;
out vec2 tex; out vec3 world; out float kept;
void main() {
    tex = uv; kept = paint.x; world = position;
#if KIND == FUR
    world += normal * fur_length * 0.7 * smoothstep(0.1, 0.9, paint.x);
#endif
    gl_Position = camera * vec4(world, 1);
}
"""

DEPTH_FRAGMENT = """
in vec2 tex; in vec3 world; in float kept; uniform sampler2D picture; uniform vec4 cuts;
void main() {
#if KIND == HAIR
    bool front = world.z > cuts.z && abs(world.x) < cuts.w;
    if (texture(picture, tex).a < 0.5 || world.y < (front ? max(cuts.x, cuts.y) : cuts.x)) discard;
#elif KIND == CLOTH
    if (world.y > cuts.x + cuts.y * world.x * world.x + cuts.z * (world.z - cuts.w)) discard;
#elif KIND == FUR
    if (kept < 0.5) discard;
#endif
}
"""

SCREEN_VERTEX = """
#version 330
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0, 1); }
"""

# From supersampled buffers to the stored pictures: straight colour and coverage, depth along the ray, part.
RESOLVE_FRAGMENT = """
#version 330
uniform sampler2D shaded; uniform sampler2D depths; uniform sampler2D parts;
uniform int samples; uniform vec2 near_far; uniform vec3 lens; uniform float depth_scale; uniform float edge;
layout(location = 0) out vec4 colour; layout(location = 1) out uint depth; layout(location = 2) out uint part;
void main() {
    ivec2 corner = ivec2(gl_FragCoord.xy) * samples; vec2 size = vec2(textureSize(shaded, 0));
    vec4 sum = vec4(0); float nearest = 1e9, total = 0.0, farthest = 0.0; int solid = 0; int votes[16]; int best = 0;
    for (int i = 0; i < 16; i++) votes[i] = 0;
    for (int j = 0; j < samples; j++) for (int i = 0; i < samples; i++) {
        ivec2 at = corner + ivec2(i, j); sum += texelFetch(shaded, at, 0);
        float d = texelFetch(depths, at, 0).r;
        if (d < 1.0) {
            float sum_of = near_far.y + near_far.x, apart = near_far.y - near_far.x;
            float z = 2.0 * near_far.x * near_far.y / (sum_of - (2.0 * d - 1.0) * apart);
            float along = z * length(vec3(((vec2(at) + 0.5) / size - lens.yz) / lens.x, 1.0));
            int id = int(texelFetch(parts, at, 0).r * 255.0 + 0.5) & 15;
            nearest = min(nearest, along); farthest = max(farthest, along); total += along; solid++; votes[id]++;
            if (votes[id] > votes[best]) best = id;
        }
    }
    float count = float(samples * samples); sum /= count;
    bool seen = sum.a >= 0.5 && solid > 0;
    colour = vec4(sum.a > 0.0 ? sum.rgb / sum.a : vec3(0.0), sum.a);
    float along = farthest - nearest < edge ? total / float(max(solid, 1)) : nearest;
    depth = seen ? uint(along * depth_scale + 0.5) : 0u; part = seen ? uint(best) : 0u;
}
"""
